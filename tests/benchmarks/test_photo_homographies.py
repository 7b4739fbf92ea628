"""Photographs under random homographies: the truth is exact, nothing aliases, and light is only light."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from presets import open_benchmark

from retracker.benchmarks.plane_views import (
    OVERLAP,
    Change,
    Light,
    draw_views,
    homography_between,
    lit,
    overlap,
    reduced,
    render,
)
from retracker.benchmarks.protocol import Matched
from retracker.benchmarks.sift import sift
from retracker.data.picture_warps import Warping
from retracker.data.synthetic.posed import HELD_OUT
from retracker.geometry.homography import transform

SIZE = (60, 80)  # height, width of a view
STRONG = Warping(zoom=1.6, turn=45, scale=0.5, stretch=0.25, shift=0.15, tilt=0.3, bend=0)
DARK = Light(brightness=0, slope=0, tint=0, gamma=0, noise=0)


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("photo_homographies", "nowhere", "quick=true")


def centres(height, width):
    y, x = np.mgrid[:height, :width] + 0.5
    return torch.from_numpy(np.stack([x, y], axis=-1).reshape(-1, 2))


def ramp(height, width):
    """A photograph that says of each of its places where it is: red is x, green is y, in px."""
    xy = centres(height, width).reshape(height, width, 2).numpy()
    return np.dstack([xy, np.zeros((height, width))]).astype(np.float32)


def test_each_pixel_shows_the_place_that_its_centre_is_taken_to():
    """To a hundredth of a pixel on average: half a pixel in either image would be seen."""
    photograph, rng = ramp(190, 250), np.random.default_rng(0)
    for _ in range(3):
        views = draw_views((190, 250), SIZE, STRONG, rng)
        for view in views:
            shown = render(photograph, view, SIZE)[..., :2].reshape(-1, 2)
            truth, _ = transform(view, centres(*SIZE))
            inner = ((truth > 8) & (truth < torch.tensor([242, 182]))).all(-1).numpy()
            apart = (shown - truth.numpy())[inner]
            assert inner.sum() > 2000 and np.abs(apart.mean(axis=0)).max() < 0.01
            assert np.abs(apart).max() < 0.1


def test_the_homography_takes_what_one_view_shows_to_where_the_other_shows_it():
    photograph, rng = ramp(190, 250), np.random.default_rng(1)
    views = draw_views((190, 250), SIZE, STRONG, rng)
    image0, image1 = (render(photograph, view, SIZE)[..., :2] for view in views)
    there, _ = transform(homography_between(views), centres(*SIZE))
    seen = cv2.remap(image1, (there.float().numpy() - 0.5)[:, None], None, cv2.INTER_LINEAR)[:, 0]
    inner = ((there > 2) & (there < torch.tensor([78, 58]))).all(-1).numpy()
    inner &= ((image0.reshape(-1, 2) > 8) & (image0.reshape(-1, 2) < [242, 182])).all(axis=1)
    apart = (seen - image0.reshape(-1, 2))[inner]
    assert inner.sum() > 1000 and np.abs(apart.mean(axis=0)).max() < 0.02


def test_a_pattern_too_fine_for_a_view_turns_grey_and_makes_no_new_one():
    stripes = np.zeros((200, 200, 3), np.float32)
    stripes[:, ::2] = 200
    view = torch.tensor([[2.9, 0.3, 4.0], [-0.3, 2.7, 20.0], [0, 0, 1.0]], dtype=torch.float64)
    shown = render(stripes, view, SIZE)[2:-2, 2:-2]
    assert abs(shown.mean() - 100) < 1 and shown.std() < 22  # one sample a pixel would leave 100


def test_what_is_not_shrunk_stays_sharp():
    edge = np.zeros((60, 80, 3), np.float32)
    edge[:, 40:] = 200
    shown = render(edge, torch.eye(3, dtype=torch.float64), SIZE)
    assert np.abs(shown - edge).max() < 30 and shown[30, 40, 0] - shown[30, 39, 0] > 160


def test_both_views_show_the_photograph_and_each_other():
    rng = np.random.default_rng(2)
    for _ in range(20):
        views = draw_views((300, 450), (240, 320), STRONG, rng)
        assert overlap(views, (240, 320)) >= OVERLAP
        grown = homography_between(views).det()  # of areas, in the corner
        assert 0.02 < grown < 50


def test_warps_that_leave_the_photograph_are_told():
    away = replace(STRONG, shift=9)
    with pytest.raises(ValueError, match="no two views of a photograph show it and each other.*warp it less"):
        draw_views((300, 450), (240, 320), away, np.random.default_rng(0))


def test_a_bent_photograph_is_refused():
    with pytest.raises(ValueError, match="expected bend 0, got 0.1"):
        Change(warping=replace(STRONG, bend=0.1), light=DARK)


def test_without_a_change_of_light_a_view_is_what_was_rendered():
    view = np.random.default_rng(0).uniform(0, 255, (*SIZE, 3)).astype(np.float32)
    seen = lit(view, DARK, np.random.default_rng(1))
    assert np.abs(seen.permute(1, 2, 0).numpy() - view).max() <= 0.5 + 1e-4


def test_light_stays_within_its_limits():
    view = np.full((*SIZE, 3), 100, np.float32)
    changed = replace(DARK, brightness=0.2, slope=0.3)
    levels = [lit(view, changed, np.random.default_rng(seed)).float() for seed in range(20)]
    means = torch.stack([level.mean() for level in levels])
    assert 79 < means.min() < 90 and 110 < means.max() < 121
    assert max(float(level.max() / level.min()) for level in levels) > 1.3  # light falls from a side
    noisy = lit(view, replace(DARK, noise=5), np.random.default_rng(0)).float()
    assert 4.7 < noisy.std() < 5.3 and abs(noisy.mean() - 100) < 0.2


def test_a_large_photograph_is_reduced_and_a_small_one_is_left():
    large = np.zeros((1000, 2000, 3), np.uint8)
    assert reduced(large, SIZE).shape == (120, 240, 3)
    assert reduced(large[:100, :200], SIZE).shape == (100, 200, 3)


def test_pairs_are_of_photographs_that_no_training_shows(benchmark):
    names = [benchmark.item_name(index) for index in range(len(benchmark))]
    assert len(names) == len(set(names)) == 2 * 2 * len(HELD_OUT)
    assert names[0] == "moderate/scikit-image/astronaut.png/0" and benchmark.group(0) == "moderate"
    assert benchmark.group(len(names) - 1) == "strong"
    assert {name.split("/")[2] for name in names} == set(HELD_OUT)
    assert len(open_benchmark("photo_homographies", "nowhere")) == 100


def test_a_pair_is_always_the_same(benchmark):
    item, again = benchmark.read(3), open_benchmark("photo_homographies", "elsewhere").read(11)
    assert (benchmark.item_name(3), item.image0.shape) == (
        "moderate/scikit-image/camera.png/1",
        (3, 240, 320),
    )
    assert torch.equal(item.homography, again.homography) and torch.equal(item.image1, again.image1)
    assert not torch.equal(item.homography, benchmark.read(2).homography)


def test_the_truth_scores_100_and_points_half_a_pixel_off_do_not(benchmark):
    item = benchmark.read(10)
    points0 = centres(240, 320)[::40]
    points1, _ = transform(item.homography, points0)

    def scored(moved):
        answer = Matched(points0=points0, points1=moved, confidence=torch.ones(len(points0)))
        return benchmark.score(item, benchmark.ask(lambda *_: answer, item))

    right, wrong = scored(points1), scored(points1 + 0.5)
    assert right["corner_error"] < 1e-3 and right["mma_1"] == 1.0
    assert wrong["corner_error"] == pytest.approx(0.5**0.5, abs=0.01)
    assert benchmark.summarise({"a": right}).values["exact_auc_3px"] > 0.999


def test_sift_finds_points_where_they_are(benchmark):
    """Its matches are off by nothing on average: what is rendered has no offset of its own."""
    item = benchmark.read(0)
    found = benchmark.ask(lambda a, b: sift(a, b, max_keypoints=2048, ratio=0.8, root=False), item)
    there, _ = transform(item.homography, found.points0)
    apart = found.points1 - there
    near = apart[apart.norm(dim=-1) < 2]
    assert len(near) > 50 and near.mean(dim=0).abs().max() < 0.1
    assert benchmark.score(item, found)["corner_error"] < 2


def test_any_folder_of_photographs_can_be_taken(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "deeper").mkdir()
    for name in ("b.png", "deeper/a.jpg"):
        cv2.imwrite(str(tmp_path / name), rng.integers(0, 255, (300, 400, 3)).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("no photograph")
    benchmark = open_benchmark("photo_homographies", "nowhere", f"benchmark.folder={tmp_path}")
    assert len(benchmark) == 40 and benchmark.item_name(0) == "moderate/b.png/0"
    assert benchmark.read(39).image1.shape == (3, 240, 320)
    (tmp_path / "b.png").write_bytes(b"half a picture")
    with pytest.raises(ValueError, match=r"b.png: cannot be read as an image"):
        benchmark.read(0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmark.folder=/no/such/folder", "/no/such/folder"),
        ("benchmark.size=[320]", "expected a size .width, height. in px"),
        ("benchmark.pairs=0", "at least one pair"),
        ("benchmark.changes.strong.warping.bend=0.1", "expected bend 0"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(override, message):
    with pytest.raises((ValueError, OSError), match=message) as told:
        open_benchmark("photo_homographies", "nowhere", override)
    assert "\n" not in str(told.value)
