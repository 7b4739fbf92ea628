"""Warped pictures: what a label says is what the picture's own coordinates say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch
from dots import COLOURS, found, picture

from retracker.data.augment import Augment
from retracker.data.cache import DiskCache
from retracker.data.datasets.warped_images import WARPS, WarpedImages
from retracker.data.mixture import Mixture
from retracker.data.picture_warps import (
    MOST_BENT,
    Warping,
    centres_of_pixels,
    draw_tracks,
    draw_warp,
    flow_between,
    render,
)
from retracker.data.recordings import Unusable, in_frame
from retracker.data.sources import Plain
from retracker.data.warp import read_flow
from retracker.geometry.coords import sample_image
from retracker.geometry.plane_warp import thin_plate_moves
from retracker.media.image import write_image
from retracker.media.video import write_video

STRONG = Warping(zoom=1.5, turn=40, scale=0.5, stretch=0.3, shift=0.3, tilt=0.25, bend=0.06)
GENTLE = Warping(zoom=1.2, turn=20, scale=0.2, stretch=0.1, shift=0.1, tilt=0.1, bend=0.03)
PICTURE = (150, 210)  # height, width


def drawn(seed, num_frames, warping=STRONG):
    rng = np.random.default_rng(seed)
    return draw_warp(PICTURE, num_frames, warping, rng), rng


def images(root, **changes):
    settings = {"length": 20, "num_frames": 2, "num_points": 40, "size": 64, "seed": 0, "warping": STRONG}
    return WarpedImages(
        str(root), looks=Augment([]), **settings | {"dense_flow": False, "cache": None} | changes
    )


def ramps():
    """A picture whose red is its x and whose green is its y, two grey levels a pixel."""
    y, x = np.mgrid[:100, :120] + 0.5
    return torch.from_numpy(np.stack([2 * x, 2 * y, 0 * x + 200])).round().to(torch.uint8)


@pytest.fixture
def folder(tmp_path):
    """Three images and a video at various depths, among files that are none."""
    for n, name in enumerate(["a.png", "deep/v1.0/b.png", "deep/c.PNG"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / name, (ramps().int() // (n + 1)).to(torch.uint8))
    write_video(tmp_path / "deep/d.mp4", ramps()[None].expand(5, -1, -1, -1), 25)
    (tmp_path / "labels.json").write_text("{}")
    (tmp_path / ".hidden.png").write_text("no image")
    return tmp_path


@pytest.mark.parametrize("num_frames", [2, 12])
def test_all_frames_agree_on_what_a_point_is(num_frames):
    for seed in range(10):
        warp, rng = drawn(seed, num_frames)
        tracks, located = draw_tracks(warp, PICTURE, 100, rng)
        source, ahead = warp.source(tracks)
        shown = located & ahead
        assert shown.float().mean() > 0.5 and shown.any(0).all()
        first = source[shown.int().argmax(0), torch.arange(source.shape[1])]
        assert (source - first).norm(dim=-1)[shown].max() < 1e-6  # px of the picture


def test_a_point_said_to_be_out_of_view_is_nowhere_in_the_frame():
    for seed in range(5):
        warp, rng = drawn(seed, 4)
        tracks, located = draw_tracks(warp, PICTURE, 100, rng)
        inside = located & ((tracks >= 0) & (tracks < 1)).all(-1)
        source, ahead = warp.source(tracks)
        first = source[inside.int().argmax(0), torch.arange(source.shape[1])]
        seen, _ = warp.source(centres_of_pixels(64))  # T P 2
        for t in range(4):
            nearest = torch.cdist(first[~inside[t]], seen[t]).min(-1).values
            pixel = seen[t].unflatten(0, (64, 64)).diff(dim=1).norm(dim=-1).max()
            assert (nearest > 0.3 * pixel).all()  # a point within the frame is at most 0.8 px off some centre


def test_dots_of_the_picture_are_found_where_the_warp_says():
    n = len(COLOURS)
    dots = np.stack([np.linspace(25, 185, n), (np.arange(n) * 3 % n + 0.9) * 150 / (n + 0.6)], -1)
    still = picture(dots, COLOURS, *PICTURE)
    errors = []
    for seed in range(12):
        warp, _ = drawn(seed, 3, GENTLE)
        video = render(still, warp, 160)
        tracks, known = warp.find(torch.from_numpy(dots))
        for t, n in known.nonzero().tolist():
            centre = found(video[t], tracks[t, n] * 160, 11) if tracks[t, n].abs().max() < 2 else None
            errors += [] if centre is None else [centre - tracks[t, n] * 160]
    errors = torch.stack(errors)
    assert len(errors) > 100
    # A bent disc's centroid is not quite its centre's image.
    assert errors.norm(dim=-1).max() < 0.2 and errors.mean(0).abs().max() < 0.02


def test_colours_of_the_frames_are_those_of_the_picture_at_the_tracks(tmp_path):
    write_image(tmp_path / "ramps.png", ramps())
    clips = images(tmp_path, num_frames=3, num_points=200)
    errors = []
    for index in range(12):
        clip = clips[index]
        video = clip.video.float()
        inner = clip.visible & in_frame(clip.tracks - 1, clip.video) & in_frame(clip.tracks + 1, clip.video)
        here = torch.stack([sample_image(video[t][None], clip.tracks[t][None])[0] for t in range(3)])
        inner = inner & (here[..., 2] == 200)  # all four pixels around it show the picture
        both = inner[0] & inner[2]
        errors.append((here[2] - here[0])[both, :2] / 2)  # px of the picture
    errors = torch.cat(errors)
    assert len(errors) > 300
    assert errors.mean(0).abs().max() < 0.03  # rounding to whole grey levels averages out
    assert errors.abs().max() < 0.8  # it is a quarter pixel in each of the two readings, and in the picture


def test_dense_flow_leads_where_the_tracks_are():
    for seed in range(4):
        warp, rng = drawn(seed, 3)
        flow = flow_between(warp, PICTURE, 64)
        tracks, located = draw_tracks(warp, PICTURE, 100, rng)
        start = tracks[0] * 64
        for t in range(3):
            change, valid = read_flow(flow.displacement[t], flow.valid[t], start)
            both = valid & located[0] & located[t]
            error = (start + change - tracks[t] * 64).norm(dim=-1)[both]
            assert both.any() and error.median() < 0.02 and error.max() < 1  # nearest pixel at the border
        assert not flow.displacement[0].any()
        there = centres_of_pixels(64).reshape(64, 64, 2) * 64 + flow.displacement
        assert ((there >= -1e-3) & (there <= 64 + 1e-3)).all(-1)[flow.valid].all()


def test_nothing_folds_however_strong_the_bend():
    warping = Warping(zoom=1, turn=0, scale=0, stretch=0, shift=0, tilt=0.3, bend=2.0)
    for seed in range(10):
        warp, _ = drawn(seed, 2, warping)
        places = torch.rand(500, 2, dtype=torch.float64) * 1.8 - 0.4
        _, slope = thin_plate_moves(places, warp.centres, warp.spline)
        assert slope.flatten(2).norm(dim=-1).max() < 1.05 * MOST_BENT  # between the places looked at
        source, ahead = warp.source(places)
        back, known = warp.find(source)
        assert (ahead & known).all() and (back - places).abs().max() < 1e-7


def test_a_clip_starts_with_the_picture_as_it_is_and_moves_smoothly():
    for seed in range(5):
        warp, rng = drawn(seed, 24)
        torch.testing.assert_close(warp.spline[0], torch.zeros_like(warp.spline[0]))
        linear = warp.homography[0, :2, :2]
        torch.testing.assert_close(linear, torch.eye(2, dtype=torch.float64) * linear[0, 0])
        tracks, located = draw_tracks(warp, PICTURE, 50, rng)
        all_known = located.all(0)
        assert tracks[:, all_known].diff(dim=0).norm(dim=-1).max() < 0.25
        assert tracks[:, all_known].diff(dim=0, n=2).norm(dim=-1).max() < 0.08


def test_the_frames_of_a_pair_are_warped_apart():
    moved = []
    for seed in range(10):
        warp, _ = drawn(seed, 2)
        moved.append((warp.homography[0] - warp.homography[1]).abs().max())
        assert (warp.spline[0].abs().max() > 0) and (warp.spline[1].abs().max() > 0)
    assert min(moved) > 1


@pytest.mark.parametrize("num_frames", [2, 5])
def test_labels_are_consistent(folder, num_frames):
    for index in range(10):
        clip = images(folder, num_frames=num_frames, dense_flow=True)[index]
        assert clip.video.shape == (num_frames, 3, 64, 64) and clip.tracks.dtype == torch.float32
        assert clip.flow.valid.shape == (num_frames, 64, 64)
        assert (clip.located & clip.labelled & in_frame(clip.tracks, clip.video))[clip.visible].all()
        points = torch.arange(clip.tracks.shape[1])
        assert len(points) > 10 and clip.visible[clip.queries.frame, points].all()
        assert torch.equal(clip.tracks[clip.queries.frame, points], clip.queries.xy)


def test_points_lie_on_the_picture_not_beyond_it(tmp_path):
    write_image(tmp_path / "white.png", torch.full((3, 90, 90), 255, dtype=torch.uint8))
    clips, black = images(tmp_path), 0
    for index in range(10):
        clip = clips[index]
        black += int((clip.video == 0).any())
        here = torch.stack(
            [sample_image(clip.video[t][None].float(), clip.tracks[t][None])[0] for t in (0, 1)]
        )
        assert (here[clip.visible] > 100).all()  # half, on the very edge
    assert black > 3


def test_the_nth_clip_depends_on_the_seed_and_n_alone(folder):
    one, other = images(folder), images(folder)
    forwards, backwards = [one[n] for n in range(4)], [other[n] for n in (3, 2, 1, 0)][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert a.name == b.name and torch.equal(a.video, b.video) and torch.equal(a.tracks, b.tracks)
    assert not torch.equal(images(folder, seed=1)[0].tracks, forwards[0].tracks)
    assert len({clip.name.split("#")[0] for clip in [one[n] for n in range(20)]}) == 4


def test_files_are_found_at_any_depth(folder):
    assert images(folder).files == ["a.png", "deep/c.PNG", "deep/d.mp4", "deep/v1.0/b.png"]


def file_of(clips, index):
    """Which file a clip is of, without reading it."""
    return clips.files[np.random.default_rng((clips.seed, index, 0, WARPS)).integers(len(clips.files))]


@pytest.mark.parametrize("name", ["a.png", "deep/d.mp4"])
@pytest.mark.parametrize("content", [b"", b"nonsense" * 20])
def test_a_broken_file_is_named_and_the_others_are_read(folder, name, content):
    clips = images(folder)
    (folder / name).write_bytes(content)
    own = [file_of(clips, n) == name for n in range(20)]
    with pytest.raises(ValueError, match=name):
        clips[own.index(True)]
    assert not clips[own.index(False)].name.startswith(f"warped_images/{name}")


def test_a_clip_that_shows_nothing_is_unusable_and_no_failure(folder):
    away = replace(STRONG, shift=30.0)  # far beyond the picture, for most of them
    clips = images(folder, warping=away, num_points=1)
    with pytest.raises(Unusable, match="no point is visible"):
        for clip in clips:
            assert clip.visible.any()


def test_a_mixture_skips_what_cannot_be_read(folder):
    (folder / "a.png").write_bytes(b"")
    stream = Mixture({"images": Plain(images(folder))}, {}, Augment([]), seed=0, block=1, distinct=None)
    with pytest.warns(UserWarning, match="a.png"):
        sample = stream[0]
    assert sample.name.startswith("warped_images/")


def test_decoded_pictures_can_come_from_the_cache(folder, tmp_path_factory):
    cached = images(folder, cache=DiskCache(folder=str(tmp_path_factory.mktemp("cache")), limit_gb=1))
    for index in range(4):
        once, again, plain = cached[index], cached[index], images(folder)[index]
        assert torch.equal(once.video, plain.video) and torch.equal(again.video, plain.video)


def test_the_images_of_an_installed_package_are_enough():
    root = Path(skimage.__file__).parent / "data"
    clips = images(root, num_frames=3, size=48)
    assert len(clips.files) >= 10
    for index in range(5):
        clip = clips[index]
        assert clip.video.float().std() > 1 and clip.visible.float().mean() > 0.3


def test_a_folder_without_pictures_and_settings_without_sense_are_refused(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: has no image"):
        images(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        images(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="2 frames"):
        images(folder, num_frames=1)
    with pytest.raises(IndexError, match="clip 20"):
        images(folder)[20]
    with pytest.raises(ValueError, match="tilt"):
        Warping(zoom=1, turn=0, scale=0, stretch=0, shift=0, tilt=0.5, bend=0)
