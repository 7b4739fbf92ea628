"""Pictures and labels change alike: a coloured dot stays under its track, whatever is done to a clip."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dots import COLOURS, dotted, misses
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from retracker.data.appearance import Blur, Colour, Compress, Grain, Shrink, colour_matrix
from retracker.data.augment import Augment, Flip, Reverse, reverse
from retracker.data.crop import Crop, Resize
from retracker.data.datasets.synthetic import Synthetic
from retracker.data.erase import Erase
from retracker.data.points import ChoosePoints
from retracker.data.recordings import in_frame
from retracker.data.warp import warp
from retracker.geometry.coords import sample_image
from retracker.losses.dense import follow
from retracker.types import DenseFlow

SEEDS = range(8)
GEOMETRY = {
    "flip": Flip(0.5, 0.5),
    "reverse": Reverse(1.0),
    "shrink": Resize([60, 80]),
    "squeeze": Resize([50, 110]),
    "enlarge": Resize([170, 200]),
    "beyond": Crop([96, 96], [0.6, 0.9], 0.2, 180, 0.3, 0.2, 0.0),
    "into": Crop([90, 150], [1.0, 1.4], 0.2, 30, 0.3, 0.2, 0.0),
    "tiny": Crop([48, 56], [0.9, 1.2], 0.1, 20, 0.1, 0.1, 0.0),
    "choose": ChoosePoints(5, 5, 0.5, 0.7, 1.0, 1.0),
}
LOOKS = {
    "colour": Colour(0.3, 0.3, 0.5, 30, 0.3, 0.2, 0.5, 0.3),
    "blur": Blur(1.0, [0.3, 2.0]),
    "grain": Grain(1.0, [2, 8]),
    "compress": Compress(1.0, [50, 95]),
    "small film": Shrink(1.0, [0.6, 0.9], [70, 95]),
}
ALL = GEOMETRY | LOOKS | {"erase": Erase(1.0, 4, [0.1, 0.3], 4)}
MIXED = {
    "drone": Augment([ALL["beyond"], ALL["flip"], ALL["reverse"], ALL["colour"], ALL["blur"], ALL["choose"]]),
    "phone": Augment(
        {"view": ALL["into"], "flip": ALL["flip"], "looks": ALL["grain"], "pick": ALL["choose"]}
    ),
}
# What cv2's steps of 1/32 px, 8 bits and colours clipped at 255 leave of the drawn dots' own 0.02 px; JPEG
# halves the resolution of colour.
TOLERANCE = {"compress": 0.2, "small film": 0.3}


def many(transform, sample=None, seeds=SEEDS):
    sample = dotted() if sample is None else sample
    return [transform(sample, np.random.default_rng(seed)) for seed in seeds]


def unequal(one, other):
    different = []
    one.map(lambda a, b: different.append(not torch.equal(a, b)) or a, other)
    return any(different)


def colours_at(sample):
    video = sample.video.float()
    return torch.stack([sample_image(video[t][None], sample.tracks[t][None])[0] for t in range(len(video))])


@pytest.mark.parametrize("name", GEOMETRY | LOOKS | MIXED)
def test_a_dot_stays_under_its_track(name):
    reach = {"into": 20, "enlarge": 20, "phone": 20, "tiny": 6}.get(name, 10)  # below the next dot's distance
    errors = torch.cat([misses(clip, reach) for clip in many((GEOMETRY | LOOKS | MIXED)[name])])
    assert len(errors) > 30
    assert errors.norm(dim=-1).max() < TOLERANCE.get(name, 0.1)
    assert errors.mean(0).abs().max() < 0.01  # half a pixel would be no chance


@pytest.mark.parametrize("name", GEOMETRY)
def test_it_is_the_same_dot(name):
    for clip in many(GEOMETRY[name]):
        inner = clip.visible & in_frame(clip.tracks - 1, clip.video) & in_frame(clip.tracks + 1, clip.video)
        here = colours_at(clip)[inner]
        nearest = torch.cdist(here, torch.from_numpy(COLOURS).float()).min(-1)
        assert nearest.values.max() < 30  # of 255; discs are still several pixels wide
        if name != "choose":
            assert torch.equal(nearest.indices, inner.nonzero()[:, 1])


@pytest.mark.parametrize("name", ALL)
def test_labels_stay_consistent_and_nothing_is_written_into_the_argument(name):
    sample = dotted()
    before = sample.map(torch.clone)
    for clip in many(ALL[name]):
        points = torch.arange(clip.tracks.shape[1])
        assert clip.video.dtype == torch.uint8 and clip.video.is_contiguous() and clip.tracks.isfinite().all()
        assert (clip.labelled & clip.located & in_frame(clip.tracks, clip.video))[clip.visible].all()
        learns = clip.labelled.any(0)
        assert clip.visible[clip.queries.frame, points][learns].all()
        assert torch.equal(clip.tracks[clip.queries.frame, points][learns], clip.queries.xy[learns])
    assert not unequal(before, sample)


@pytest.mark.parametrize("name", ALL)
def test_the_generator_alone_decides(name):
    one, again, *others = many(ALL[name], seeds=(1, 1, 2, 3, 4, 5, 6))
    assert not unequal(one, again)
    fixed = isinstance(ALL[name], Resize | Reverse)
    sizes = [one.tracks.shape == other.tracks.shape for other in others]
    assert fixed or not all(sizes) or any(unequal(one, other) for other in others)


@pytest.mark.parametrize("size", [(60, 80), (40, 40), (31, 47), (200, 300)])
def test_frames_have_the_size_asked_for_whatever_the_view(size):
    for clip in many(Crop(size, [0.5, 3.0], 0.3, 45, 0.5, 0.5, 0.5), seeds=range(4)):
        assert clip.video.shape == (6, 3, *size)


def test_shrinking_averages_pixels_instead_of_skipping_them():
    board = torch.zeros(3, 3, 96, 96, dtype=torch.uint8)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = 240
    sample = replace(dotted(3, 96, 96), video=board)
    small = Resize([24, 24])(sample, np.random.default_rng(0)).video
    assert (small == 120).all()


def test_a_view_within_the_frames_shows_nothing_black_and_one_beyond_them_does():
    white = replace(dotted(), video=torch.full((6, 3, 120, 160), 255, dtype=torch.uint8))
    for clip in many(Crop([64, 64], [1.0, 2.0], 0.4, 0, 1.0, 0.5, 0.0), white):
        assert clip.video[..., 1:-1, 1:-1].min() == 255  # the outermost pixels may reach half a pixel out
    for clip in many(Crop([64, 64], [0.5, 0.7], 0.0, 0, 1.0, 0.5, 0.0), white):
        assert clip.video.min() == 0 and (clip.video > 0).float().mean() > 0.2


def test_a_view_drifts_smoothly_in_a_video_and_jumps_in_a_pair():
    still = replace(dotted(), tracks=dotted().tracks[:1].expand(6, -1, -1))
    for clip in many(Crop([64, 64], [1.0, 1.5], 0.1, 20, 0.3, 0.3, 1.0), still):
        step = clip.tracks.diff(dim=0)
        assert 0.01 < step.norm(dim=-1).max() < 15
        assert clip.tracks.diff(n=2, dim=0).norm(dim=-1).max() < 0.5
    pair = replace(dotted(2), tracks=dotted(2).tracks[:1].expand(2, -1, -1))
    turned = many(Crop([64, 64], [1.0, 1.5], 0.1, 90, 0.0, 0.0, 1.0), pair)
    assert max((clip.tracks[1] - clip.tracks[0]).norm(dim=-1).max() for clip in turned) > 30
    for clip in many(Crop([64, 64], [1.0, 1.5], 0.1, 90, 0.0, 0.0, 0.0), pair):
        torch.testing.assert_close(clip.tracks[1], clip.tracks[0])


def test_a_point_out_of_view_is_hidden_but_located_and_asked_for_where_it_is_seen():
    sample = dotted()
    shift = torch.eye(3).repeat(6, 1, 1)
    shift[:3, 0, 2] = -500.0  # nothing of the dots is in the first three frames
    clip = warp(sample, shift, (120, 160))
    assert not clip.visible[:3].any() and (clip.video[:3] == 0).all()
    kept = sample.visible[3:].any(0)
    assert clip.located[:, kept].all() and clip.labelled[:, kept].all()
    assert (clip.queries.frame[kept] >= 3).all()
    never = warp(sample, shift[:1].expand(6, 3, 3), (120, 160))
    assert not (never.labelled | never.located).any()


def test_a_point_behind_the_horizon_or_absurdly_far_is_not_located_and_never_again():
    sample = dotted()
    tilted = torch.eye(3).repeat(6, 1, 1)
    tilted[2:, 2, 0] = -1 / 60  # all right of x = 60 lies behind
    tilted[4:, :2] *= 1e9
    clip = warp(sample, tilted, (120, 160))
    ahead = sample.tracks[..., 0] < 60
    ahead[:2] = True
    ahead[4:] = False
    assert not ahead[3].all() and ahead[3].any()
    assert torch.equal(clip.located, ahead) and not clip.visible[~ahead].any()
    assert clip.tracks.isfinite().all() and (clip.tracks.abs() < 1e5).all()
    straight = warp(clip, torch.eye(3).repeat(6, 1, 1), (120, 160))
    assert torch.equal(straight.located, ahead) and torch.equal(straight.visible, clip.visible)


@pytest.mark.parametrize("flip", [Flip(1.0, 0.0), Flip(0.0, 1.0)], ids=["across", "down"])
def test_a_point_on_the_border_never_is_visible_beyond_it(flip):
    sample = dotted()
    tracks = sample.tracks.clone()
    tracks[0, 0] = 0.0  # its mirror image lies on the border that is no longer inside
    sample = replace(sample, tracks=tracks, queries=replace(sample.queries, xy=tracks[0]))
    assert sample.visible[0, 0] and sample.visible[1:, 0].any() and (sample.queries.frame == 0).all()
    flipped = flip(sample, np.random.default_rng(0))
    assert in_frame(flipped.tracks, flipped.video)[flipped.visible].all()
    assert flipped.visible[flipped.queries.frame[0], 0] and flipped.labelled[0, 0]


def flowing():
    """A clip of an even colour with dense flow: everything turns and grows about the middle."""
    matrices = torch.tensor([[[1 + 0.1 * t, -0.05 * t], [0.05 * t, 1 + 0.1 * t]] for t in range(3)])
    y, x = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(100) + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1)
    middle = torch.tensor([50.0, 40.0])
    there = torch.einsum("tij,hwj->thwi", matrices, centres - middle) + middle
    valid = ((there >= 0) & (there < torch.tensor([100, 80]))).all(-1)
    flow = DenseFlow(displacement=there - centres, valid=valid)
    return replace(dotted(3, 80, 100), flow=flow), matrices, middle


def well_inside(xy, margin):
    return ((xy >= margin) & (xy <= torch.tensor([100, 80]) - margin)).all(-1)


def test_dense_flow_is_carried_along_exactly():
    sample, matrices, middle = flowing()
    rng = np.random.default_rng(0)
    views = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    views[:, :2] += torch.from_numpy(rng.uniform(-0.3, 0.3, (3, 2, 3)) * (1, 1, 20))
    flow = warp(sample, views, (64, 64)).flow
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    centres = torch.stack([x, y, torch.ones_like(x)], dim=-1).double()
    start = torch.einsum("ij,hwj->hwi", torch.linalg.inv(views[0]), centres)[..., :2]
    for t in range(3):
        there = torch.einsum("ij,hwj->hwi", matrices[t].double(), start - middle) + middle
        new = torch.einsum("ij,hwj->hwi", views[t, :, :2], there)[..., :2] + views[t, :2, 2]
        error = (flow.displacement[t] - (new - centres[..., :2])).norm(dim=-1)
        inner = well_inside(start, 1) & well_inside(there, 2)
        assert error[inner & flow.valid[t]].max() < 1e-3  # a linear field is interpolated exactly
        assert error[flow.valid[t]].max() < 0.3  # at the border its pixel moves with the next one known
        assert flow.valid[t][inner & ((new > 0) & (new < 64)).all(-1)].all()
        assert not flow.valid[t][~(well_inside(start, 0) & ((new > -0.3) & (new < 64.3)).all(-1))].any()


@pytest.mark.parametrize("name", ["flip", "into", "shrink", "erase"])
def test_points_follow_the_dense_flow(name):
    sample = Synthetic(1, "medium", 3, 64, 96, 0, dense_flow=True)[0]
    sample = replace(sample, visible=sample.visible & (sample.queries.frame == 0))
    transform = {"into": Crop([80, 90], [1.0, 1.3], 0.1, 20, 0.2, 0.2, 0.0)}.get(name, ALL[name])
    for clip in many(transform, sample, seeds=range(3)):
        where, known = follow(clip.flow.map(lambda x: x[None]), clip.tracks[None, 0], 2)
        both = known[0] & clip.visible[0] & clip.visible[2]
        assert both.any()
        error = (where[0] - clip.tracks[2]).norm(dim=-1)[both]
        # It moves with the pixel that it lies in: beside an edge, that may be another surface's.
        assert error.median() < 0.1 and (error < 0.5).float().mean() > 0.9


def test_what_is_erased_is_hidden_and_all_else_stays():
    sample = dotted()
    covered = 0
    for clip in many(Erase(1.0, 6, [0.15, 0.3], 5), seeds=range(40)):
        original, now = colours_at(sample).round(), colours_at(clip).round()
        inner = in_frame(sample.tracks - 1, sample.video) & in_frame(sample.tracks + 1, sample.video)
        gone = sample.visible & ~clip.visible
        assert torch.equal(clip.video[0], sample.video[0]) and not gone[0].any()
        assert clip.located.all() and clip.labelled.all()
        same = (original - now).abs().amax(-1) < 1
        assert not same[gone & inner].any()
        beside_an_edge = ~same & clip.visible & inner  # of the four pixels around it one may be covered
        assert beside_an_edge.sum() <= 3
        covered += int(gone.sum())
    assert covered > 30


def test_dots_are_where_labels_say_after_all_that_hides_them_together():
    hiding = Augment([ALL["into"], ALL["flip"], ALL["reverse"], Erase(1.0, 4, [0.1, 0.3], 4), ALL["choose"]])
    palette = torch.from_numpy(COLOURS).float()
    right = wrong = 0
    for clip in many(hiding, seeds=range(20)):
        inner = in_frame(clip.tracks - 2, clip.video) & in_frame(clip.tracks + 2, clip.video)
        shown = torch.cdist(colours_at(clip), palette).amin(-1) < 30
        right += int((clip.visible & inner & shown).sum())
        wrong += int((inner & (clip.visible != shown)).sum())
    assert right > 150 and wrong <= 3  # of the four pixels around a point one may be covered


@pytest.mark.parametrize("choice", ["full", "light"])
def test_what_yaml_chooses_can_be_built_and_keeps_labels_consistent(choice):
    configs = str(Path(__file__).parents[2] / "configs")
    with initialize_config_dir(configs, version_base="1.3"):
        cfg = compose("train", overrides=[f"transform@data.transform={choice}"])
    size = cfg.model.image_size if choice == "full" else None
    for clip in many(instantiate(cfg.data.transform)):
        points = torch.arange(clip.tracks.shape[1])
        assert clip.visible[clip.queries.frame, points].all() and clip.located[clip.visible].all()
        assert in_frame(clip.tracks, clip.video)[clip.visible].all()
        assert size is None or clip.video.shape == (6, 3, size, size)


def test_dense_flow_ends_under_what_is_erased():
    sample, _, _ = flowing()
    for clip in many(Erase(1.0, 1, [0.3, 0.3], 9), sample):
        changed = (clip.video != sample.video).any(1)  # T H W
        lost = sample.flow.valid & ~clip.flow.valid
        assert not lost[0].any()
        assert not (clip.flow.valid & ~sample.flow.valid).any()
        for t in (1, 2):
            assert changed[t].any() <= lost[t].any()


def test_a_clip_is_never_erased_to_the_last_point():
    one = ChoosePoints(1, 1, 1.0, 1.0, 0.0, 0.0)(dotted(), np.random.default_rng(3))
    for clip in many(Erase(1.0, 40, [0.9, 1.0], 9), one):
        assert clip.visible[:-1].any()


def test_a_clip_played_backwards_asks_for_each_point_where_it_is_first_seen():
    sample = dotted()
    changed = reverse(sample)
    assert torch.equal(changed.video[0], sample.video[-1])
    n = torch.arange(7)
    assert torch.equal(changed.tracks[changed.queries.frame, n], changed.queries.xy)
    before = torch.arange(6)[:, None] < changed.queries.frame
    assert not (changed.visible & before).any()  # else a point of the old frame 0 would have nothing to track


def test_a_point_that_is_visible_but_not_located_is_asked_for_where_it_is_both():
    located = dotted().located.clone()
    located[-2:, 0] = False
    changed = reverse(replace(dotted(), located=located))
    assert changed.queries.frame[0] == 2


def test_a_pair_without_a_match_is_not_played_backwards():
    sample = dotted(2)
    unmatched = replace(
        sample,
        visible=sample.visible & torch.tensor([[True], [False]]),
        located=sample.located & torch.tensor([[True], [False]]),
    )
    assert Reverse(1.0)(unmatched, np.random.default_rng(0)) is unmatched
    assert Reverse(1.0)(sample, np.random.default_rng(0)) is not sample


def repainted(video, brightness, contrast, saturation):
    """Brightness, contrast about the clip's mean and colour about grey, as they are defined."""
    colour = video.float() * brightness
    colour = colour.mean() + contrast * (colour - colour.mean())
    grey = (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    return (grey + saturation * (colour - grey)).round().clamp(0, 255)


def test_colour_at_rest_changes_nothing_and_otherwise_repaints():
    sample = dotted()
    assert torch.equal(Colour(0, 0, 0, 0, 0, 0, 0, 0)(sample, np.random.default_rng(0)).video, sample.video)
    grey = Colour(0.1, 0.1, 0.1, 20, 0.2, 1.0, 0.3, 0.0)(sample, np.random.default_rng(0)).video
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])
    textured = Synthetic(1, "easy", 2, 4, 32, 0)[0]
    for seed in SEEDS:
        b, c, s, _, _ = 1 + 0.2 * np.random.default_rng(seed).uniform(-1, 1, 5)
        ours = Colour(0.2, 0.2, 0.2, 0, 0, 0, 0, 0)(textured, np.random.default_rng(seed)).video
        assert (ours - repainted(textured.video, b, c, s)).abs().max() <= 1  # rounding


def test_a_small_film_has_no_fine_detail_left_and_its_size_is_as_before():
    sample = dotted()
    stripes = torch.arange(sample.video.shape[-1]) % 2 * 255
    fine = replace(sample, video=stripes.to(torch.uint8).expand_as(sample.video).contiguous())
    small = Shrink(1.0, [0.5, 0.5], [90, 90])(fine, np.random.default_rng(0)).video
    assert small.shape == fine.video.shape and (small.int() - 128).abs().max() < 8


def test_a_turn_of_hue_keeps_grey_and_luma():
    matrix = colour_matrix(1.0, 0.7)
    np.testing.assert_allclose(matrix @ [1, 1, 1], [1, 1, 1], atol=1e-3)  # the axes are given to 4 digits
    np.testing.assert_allclose([0.299, 0.587, 0.114] @ matrix, [0.299, 0.587, 0.114], atol=1e-3)
    np.testing.assert_allclose(colour_matrix(1.0, 2 * np.pi), np.eye(3), atol=1e-9)
    assert np.abs(matrix - np.eye(3)).max() > 0.2


def test_chances_of_nothing_change_nothing():
    looks = [Blur(0, [1, 1]), Grain(0, [1, 1]), Compress(0, [50, 50]), Shrink(0, [1, 1], [50, 50])]
    nothing = Augment([Flip(0.0, 0.0), Reverse(0.0), *looks, Erase(0, 1, [1, 1], 1)])
    assert not unequal(nothing(dotted(), np.random.default_rng(0)), dotted())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Crop([64], [1, 2], 0, 0, 0, 0, 0), "height and width"),
        (lambda: Crop([64, 64], [2, 1], 0, 0, 0, 0, 0), "lowest and the highest"),
        (lambda: Resize([0, 64]), "height and width"),
        (lambda: Blur(0.5, [-1, 2]), "sigma"),
        (lambda: Compress(0.5, [0, 50]), "quality"),
        (lambda: Compress(0.5, [50, 300]), "quality .* at most 100"),
        (lambda: Shrink(0.5, [0.0, 1.0], [50, 90]), "scale"),
        (lambda: Shrink(0.5, [0.5, 40], [50, 90]), "scale .* at most 1,"),
        (lambda: Erase(0.5, 0, [0, 1], 3), "at least 1"),
        (lambda: ChoosePoints(0, 1, 1, 1, 0, 0), "num_points"),
    ],
)
def test_settings_without_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
