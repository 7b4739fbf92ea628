"""The renderer: pictures, tracks, visibility and flow must all tell of the same geometry."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from retracker.data.datasets.synthetic import Synthetic, render_one
from retracker.data.synthetic import ClipSettings, render
from retracker.data.synthetic.casting import film
from retracker.data.synthetic.clip import draw_clip
from retracker.data.synthetic.dice import Dice
from retracker.data.synthetic.raster import draw, without_film
from retracker.data.synthetic.render import join
from retracker.data.synthetic.scene import (
    Material,
    depth_between,
    flow_between,
    follow,
    front,
    pixel_centres,
    positions,
)
from retracker.data.synthetic.seeds import RESERVED, training_seed
from retracker.data.synthetic.settings import GROUPS
from retracker.data.synthetic.surfaces import pose
from retracker.data.synthetic.validation import validation_seed
from retracker.geometry.coords import sample_image


def small(difficulty="hard", **changes):
    settings = {"num_frames": 6, "num_points": 24, "height": 72, "width": 96} | changes
    return ClipSettings(difficulty=difficulty, **settings)


@pytest.fixture(scope="module")
def clips():
    """One scene of each difficulty, one record each."""
    return [draw_clip(0, small(group)) for group in ("easy", "medium", "hard")]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_clip():
    first, again, other = (render([seed], small()) for seed in (5, 5, 6))
    assert torch.equal(first.video, again.video) and torch.equal(first.tracks, again.tracks)
    assert not torch.equal(first.video, other.video)


def test_a_locked_camera_sees_what_does_not_move_stand_still_and_movers_at_the_usual_pace():
    locked, free = (
        [draw_clip(seed, small("medium", locked=share, num_points=60)) for seed in range(4)]
        for share in (1.0, 0.0)
    )

    def steps(clips):
        return torch.cat([(clip.tracks[0, 1:] - clip.tracks[0, :-1]).norm(dim=-1).amax(0) for clip in clips])

    still = steps(locked) < 1e-3
    assert 0.2 < still.float().mean() < 0.9
    assert (steps(free) > 1e-3).all()
    moving = steps(locked)[~still].median() / steps(free).median()
    assert 0.5 < moving < 3


@pytest.mark.parametrize(("weak_walls", "flat"), [(1.0, "all"), (0.0, "some")])
def test_weak_surfaces_are_flat_and_walls_only_as_often_as_they_are_told_to_be(weak_walls, flat):
    contrast = []
    for seed in range(3):
        settings = small(weak=1.0, weak_walls=weak_walls)
        tiles = draw_clip(seed, settings).scene.atlas[0].split(round(1.5 * settings.width), dim=1)
        contrast += [tile.float().std(dim=(1, 2)).amax() for tile in tiles if tile.any()]
    is_flat = torch.stack(contrast) < 16  # grey levels
    assert is_flat.all() if flat == "all" else is_flat.any() and not is_flat.all()


def test_queries_gather_on_both_sides_of_rims_as_far_as_they_are_told_to():
    """Of queries of frame 0, against the map of what each of its pixels shows."""
    beside, in_front = {}, []
    for share in (0.0, 0.9):
        near = []
        for seed in range(6):
            clip = draw_clip(seed, small("medium", num_points=40, first_frame_share=1.0, rim_share=share))
            scene = clip.scene
            x, y = pixel_centres(scene)
            shown = front(pose(scene.surfaces, scene.camera, scene.time[:, :1]), scene.surfaces, x, y)[1][
                0, 0
            ]
            column, row = clip.queries.xy[0].long().unbind(-1)
            other = (
                F.pad(shown[None].double(), (4, 4, 4, 4), mode="replicate")[0].unfold(0, 9, 1).unfold(1, 9, 1)
            )
            changes = (other != shown[..., None, None]).flatten(2).any(-1)
            near.append(changes[row, column])
            in_front += scene.surfaces.mover[0, shown[row, column][near[-1]]].tolist() if share else []
        beside[share] = torch.cat(near).float().mean()
    assert beside[0.9] > 0.7 and beside[0.9] > beside[0.0] + 0.2
    assert 0.2 < sum(in_front) / len(in_front) < 0.8


def test_walls_that_meet_in_a_crease_have_no_rim():
    for seed in range(4):
        plain, asked = (draw_clip(seed, small("easy", rim_share=share)) for share in (0.0, 1.0))
        assert torch.equal(plain.tracks, asked.tracks)  # nothing is in front of anything: any points will do


def test_a_clip_does_not_depend_on_the_batch_it_is_rendered_in():
    together = render(range(3), small("train"))
    for index in range(3):
        alone = render([index], small("train"))
        assert torch.equal(alone.video[0], together.video[index])
        assert torch.equal(alone.tracks[0], together.tracks[index])
        assert torch.equal(alone.visible[0], together.visible[index])


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard", "train"])
def test_a_point_starts_visible_exactly_at_its_query(difficulty):
    sample = render([2], small(difficulty))
    birth = sample.queries.frame
    start = sample.tracks.gather(1, birth[:, None, :, None].expand(-1, -1, -1, 2))[:, 0]
    assert torch.equal(start, sample.queries.xy)
    assert sample.visible.gather(1, birth[:, None])[:, 0].all()
    assert sample.tracks.isfinite().all() and sample.located.all() and sample.labelled.all()
    inside = (sample.tracks >= 0).all(-1) & (sample.tracks < torch.tensor([96, 72])).all(-1)
    assert (inside | ~sample.visible).all()


def test_a_visible_pixel_keeps_its_colour_when_followed(clips):
    """Without film, colour sampled along a flow vector agrees, up to resampling of the fine texture."""
    for clip in clips:
        scene = without_film(clip.scene)
        video = draw(scene)[0].float()
        flow = flow_between(scene, 1, 3)
        x, y = pixel_centres(scene)
        target = torch.stack([x.expand(72, 96), y.expand(72, 96)], -1)[None] + flow.displacement
        found = sample_image(video[3][None], target.flatten(1, 2).float())[0].T.view(3, 72, 96)
        valid = flow.valid[0]
        error = (found - video[1]).abs().mean(0)[valid]
        astray = (found - video[1].roll(4, -1)).abs().mean(0)[valid]
        contrast = video[1][:, valid].std()
        assert valid.float().mean() > 0.3
        assert error.median() < 0.1 * contrast + 1.5 and error.mean() < 0.6 * astray.mean() + 1


def test_visibility_agrees_with_a_z_buffer_filled_from_the_surfaces(clips):
    """Splat dense samples of the other frames into frame 4 and keep the nearest: an independent test."""
    for clip in clips[1:]:
        scene = clip.scene
        x = (torch.arange(96 * 2, dtype=torch.float64) + 0.5) / 2
        y = (torch.arange(72 * 2, dtype=torch.float64) + 0.5)[:, None] / 2
        seen_at = [0, 2, 3, 4, 5]
        posed = pose(scene.surfaces, scene.camera, scene.time[:, seen_at])
        _, index, u, v = (value[0].flatten()[None] for value in front(posed, scene.surfaces, x, y))
        xy, depth = _place(scene, Material(surface=index, u=u, v=v), frame=4)
        column, row = xy.floor().long().unbind(-1)
        inside = (column >= 0) & (column < 96) & (row >= 0) & (row < 72)
        flat = (row * 96 + column)[inside]
        z_buffer = torch.full((72 * 96,), torch.inf, dtype=torch.float64)
        z_buffer = z_buffer.scatter_reduce(0, flat, depth[inside], "amin").view(1, 1, 72, 96)
        nearest, farthest = (-F.max_pool2d(-z_buffer, 3, 1, 1), F.max_pool2d(z_buffer, 3, 1, 1))
        points, own = _follow_queries(clip, frame=4)
        assert torch.allclose(points.float(), clip.tracks[0, 4], atol=1e-3)
        column, row = points.floor().long().unbind(-1)
        inside = (column >= 0) & (column < 96) & (row >= 0) & (row < 72)
        column, row = column.clamp(0, 95), row.clamp(0, 71)
        smooth = (farthest < 1.05 * nearest)[0, 0, row, column]  # outlines are not for a z-buffer of pixels
        predicted = inside & (own <= nearest[0, 0, row, column] * 1.05)
        tried = smooth | ~inside
        assert tried.float().mean() > 0.4
        assert torch.equal(predicted[tried], clip.visible[0, 4][tried])


def _place(scene, points, frame):
    posed = pose(scene.surfaces, scene.camera, scene.time[:, frame, None])
    xy, depth = positions(posed, scene.surfaces, points)
    return xy[0, 0], depth[0, 0]


def _follow_queries(clip, frame):
    """Positions and depths in ``frame`` of the queries, found again from their pixels alone."""
    scene = clip.scene
    places = []
    for xy, birth in zip(clip.queries.xy[0].double(), clip.queries.frame[0].tolist(), strict=True):
        posed = pose(scene.surfaces, scene.camera, scene.time[:, birth, None])
        _, index, u, v = (value[:, 0, 0] for value in front(posed, scene.surfaces, xy[0], xy[1, None]))
        places.append(_place(scene, Material(surface=index, u=u, v=v), frame))
    return torch.cat([xy for xy, _ in places]), torch.cat([depth for _, depth in places])


def test_dense_flow_agrees_with_the_tracks():
    sample = render([3], small("medium", dense_flow=True, first_frame_share=1.0))
    scene = draw_clip(3, small("medium", first_frame_share=1.0)).scene
    x, y = pixel_centres(scene)
    posed = pose(scene.surfaces, scene.camera, scene.time[:, :1])
    _, index, u, v = (value[:, 0].flatten(1) for value in front(posed, scene.surfaces, x, y))
    xy, seen, _ = follow(scene, Material(surface=index, u=u, v=v), scene.time)
    start = torch.stack([x.expand(72, 96), y.expand(72, 96)], -1)
    moved = (xy[0].view(6, 72, 96, 2) - start).float()
    assert torch.equal(sample.flow.valid[0], seen[0].view(6, 72, 96))
    assert (moved - sample.flow.displacement[0])[sample.flow.valid[0]].abs().max() < 1e-3
    assert sample.flow.valid[0, 0].float().mean() > 0.99 and sample.flow.displacement[0, 0].abs().max() < 1e-3
    # A query's own displacement lies among those of the pixels around it.
    field = sample.flow.displacement[0, 5].permute(2, 0, 1)[None]
    expected = sample_image(field, sample.queries.xy)[0] + sample.queries.xy[0]
    near = (expected - sample.tracks[0, 5]).norm(dim=-1)[sample.visible[0, 5]]
    assert near.median() < 0.05


def test_flow_there_and_back_ends_where_it_began(clips):
    scene = clips[1].scene
    there, back = flow_between(scene, 0, 4), flow_between(scene, 4, 0)
    x, y = pixel_centres(scene)
    start = torch.stack([x.expand(72, 96), y.expand(72, 96)], -1)[None]
    target = (start + there.displacement).flatten(1, 2).float()
    returned = sample_image(back.displacement.permute(0, 3, 1, 2).float(), target).view(1, 72, 96, 2)
    known = sample_image(back.valid[:, None].float(), target).view(1, 72, 96) == 1
    error = (there.displacement + returned).norm(dim=-1)[there.valid & known]
    assert error.median() < 0.02 and error.quantile(0.9) < 0.3  # bilinear reading fails only across outlines


def test_depth_is_that_of_the_nearest_surface(clips):
    for clip in clips:
        depth = depth_between(clip.scene, 0, 2)
        assert depth.shape == (1, 2, 72, 96)
        assert depth.isfinite().all() and depth.min() > 1


def test_scenes_hold_what_was_promised():
    scenes = [draw_clip(seed, small()).scene.surfaces for seed in range(3)]
    assert any(scene.round.any() for scene in scenes)
    assert any((scene.ripple != 0).any() for scene in scenes)
    assert all(4 <= scene.mover.sum() <= 8 for scene in scenes)
    assert not any(draw_clip(seed, small("easy")).scene.surfaces.mover.any() for seed in range(2))


def test_clips_with_different_numbers_of_surfaces_can_be_joined(clips):
    together = join(clips)
    assert together.scene.surfaces.present.sum(1).tolist() == [
        clip.scene.surfaces.present.shape[1] for clip in clips
    ]


def test_blur_averages_real_motion(clips):
    clip = clips[2]
    still = without_film(clip.scene)
    blurred = replace(still, film=replace(still.film, shutter=torch.full_like(still.film.shutter, 1.5)))
    sharp, smooth = (draw(scene).float().diff(dim=-1).abs().mean() for scene in (still, blurred))
    assert smooth < 0.97 * sharp


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_brightness_changes_by_no_more_than_the_difficulty_allows(difficulty):
    settings = small(difficulty, num_frames=48)
    films = [film(settings, GROUPS[difficulty], Dice(seed)) for seed in range(50)]
    changes = torch.stack([film.gain.amax(0) - film.gain.amin(0) for film in films])
    assert 0.5 * GROUPS[difficulty].exposure < changes.max() <= GROUPS[difficulty].exposure + 1e-6


def test_training_and_validation_seeds_never_meet():
    drawn = {training_seed(stream, index) for stream in range(5) for index in range(500)}
    assert len(drawn) == 2500 and min(drawn) >= RESERVED
    assert max(validation_seed(group, 7) for group in ("easy", "medium", "hard")) < RESERVED
    with pytest.raises(ValueError, match="reserved for validation"):
        render_one(validation_seed("easy", 0), small())


def test_a_dataset_gives_the_same_unbatched_clip_each_time():
    data = Synthetic(length=3, difficulty="train", num_frames=4, num_points=5, size=48, seed=1)
    again = Synthetic(length=9, difficulty="train", num_frames=4, num_points=5, size=48, seed=1)
    assert data[2].video.shape == (4, 3, 48, 48) and data[2].tracks.shape == (4, 5, 2)
    assert torch.equal(data[2].video, again[2].video) and data[2].name == again[2].name


def test_a_pair_is_a_clip_of_two_frames_far_apart():
    near, far = (render([4], small("medium", num_frames=2, frame_stride=stride)) for stride in (1.0, 12.0))
    moved = [(pair.tracks[0, 1] - pair.tracks[0, 0]).norm(dim=-1).median() for pair in (near, far)]
    assert moved[1] > 2 * moved[0]


@pytest.mark.parametrize(
    "mistake",
    [
        {"difficulty": "brutal"},
        {"num_frames": 0},
        {"frame_stride": 0.0},
        {"locked": 70},
        {"weak_walls": -1.0},
        {"rim_share": 2},
        {"shaded": float("nan")},
    ],
)
def test_a_wrong_setting_is_named(mistake):
    with pytest.raises(ValueError, match="synthetic"):
        small(**mistake)


@pytest.mark.gpu
def test_a_gpu_draws_the_same_clip():
    cpu, gpu = render([1, 2], small()), render([1, 2], small(), "cuda").to("cpu")
    assert (cpu.video.int() - gpu.video.int()).abs().float().quantile(0.999) <= 1
    assert (cpu.tracks - gpu.tracks).abs().max() < 1e-3
