"""What all benchmarks of relative pose share: an oracle, failures, runs, thresholds, pictures."""

import importlib.util
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from posed_points import SIZES, answer, pair, seen
from presets import composed

from retracker.benchmarks.posed import PoseBenchmark, checked_pair
from retracker.geometry.coords import rescale
from retracker.metrics.pose import approximate_pose_auc, pose_auc

PRESETS = ["loftr", "roma", "superglue_yfcc", "gluefactory_opencv"]
if importlib.util.find_spec("poselib"):
    PRESETS.append("gluefactory_poselib")


def preset(name, **changed):
    """The protocol of configs/protocol/<name>.yaml."""
    cfg = composed(f"protocol={name}").copy()
    cfg.protocol.pose.update(changed)
    return instantiate(cfg.protocol.pose, _convert_="all")


class Pairs(PoseBenchmark):
    """The same pair a few times."""

    def __init__(self, protocol, place="outdoor", count=1):
        self.place, self.count = place, count
        super().__init__("pairs", "Pairs", protocol)

    def __len__(self):
        return self.count

    def item_name(self, index):
        return f"a/{index}"

    def read(self, index):
        return pair(self.item_name(index))


def matcher_of(points0, points1):
    """A matcher that knows where points are in the stored images, and sees resized ones."""

    def match(image0, image1):
        sizes = [tuple(image.shape[1:]) for image in (image0, image1)]
        there = [
            rescale(torch.from_numpy(xy), *both)
            for xy, *both in zip((points0, points1), SIZES, sizes, strict=True)
        ]
        return answer(*there)

    return match


def scored(benchmark, points):
    item = benchmark.read(0)
    return benchmark.score(item, benchmark.ask(matcher_of(*points), item))


def summary(benchmark, points):
    return benchmark.summarise({"a/0": scored(benchmark, points)}).values


@pytest.mark.parametrize("place", ["outdoor", "indoor"])
@pytest.mark.parametrize("name", PRESETS)
def test_an_oracle_scores_100(name, place):
    benchmark = Pairs(preset(name), place)
    found = summary(benchmark, seen())
    assert min(found[column.metric] for column in benchmark.headline) > 0.9999
    assert found["epipolar_precision"] == 1 and found["solved"] == 1 and found["matches"] == 200
    assert found["share_below_1"] == 1 and found["median_pose_error"] < 1e-3


@pytest.mark.parametrize("name", PRESETS)
def test_the_same_answer_scores_the_same_twice(name):
    benchmark, points = Pairs(preset(name)), seen(60, noise_px=0.3, wrong=0.1)
    assert scored(benchmark, points) == scored(benchmark, points)


def test_every_metric_that_is_shown_is_there():
    benchmark = Pairs(preset("loftr"))
    found = summary(benchmark, seen())
    shown = [column.metric for column in (*benchmark.columns, *benchmark.headline)]
    assert set(shown) | set(benchmark.curves[0].metrics) <= set(found)
    assert benchmark.ranked_by in scored(benchmark, seen())


def test_half_a_pixel_in_one_image_costs_what_it_is_in_degrees():
    """0.5 px at a focal length of 610 px are 0.047 degrees: more or less of it, but not nothing."""
    points0, points1 = seen()
    error = scored(Pairs(preset("loftr")), (points0, points1 + [0.5, 0.0]))["pose_error"]
    assert 0.01 < error < 0.5


@pytest.mark.parametrize(("name", "expected"), [("loftr", math.inf), ("roma", 90.0)])
def test_a_failure_counts_as_the_protocol_says(name, expected):
    benchmark = Pairs(preset(name))
    scores = scored(benchmark, seen(4))
    assert scores["pose_error"] == scores["rotation_error"] == expected
    assert scores["closeness"] == -min(expected, 180) and scores["solved"] == scores["inliers"] == 0
    found = benchmark.summarise({"a/0": scores, "a/1": scored(benchmark, seen())}).values
    assert found["exact_auc_5"] == pytest.approx(0.5, abs=0.01) and found["solved"] == 0.5


def test_no_match_at_all_is_a_failure_with_no_precision():
    scores = scored(Pairs(preset("loftr")), seen(0))
    assert scores["pose_error"] == math.inf and scores["matches"] == scores["epipolar_precision"] == 0


def test_the_runs_of_one_pair_differ_and_all_their_errors_are_pooled():
    benchmark = Pairs(preset("roma"))
    scores = scored(benchmark, seen(60, noise_px=0.3, wrong=0.1))
    errors = [scores[f"pose_error_0.5px_run{run}"] for run in range(1, 6)]
    assert len(set(errors)) > 1 and scores["pose_error"] == sorted(errors)[2]
    found = benchmark.summarise({"a/0": scores}).values
    assert [found[f"exact_auc_{degrees}"] for degrees in (5, 10, 20)] == pose_auc(errors)
    assert [found[f"approximate_auc_{degrees}"] for degrees in (5, 10, 20)] == approximate_pose_auc(errors)


def test_of_more_matches_than_asked_for_a_sample_is_taken_once_and_shuffled_for_each_run():
    first, *others = preset("roma", samples=50).selections(400)
    assert len(first) == 50 and len(set(first.tolist())) == 50 and first.max() > 50
    for other in others:
        assert sorted(other) == sorted(first) and not np.array_equal(other, first)
    assert [len(chosen) for chosen in preset("roma", samples=50).selections(20)] == [20] * 5


def test_without_shuffling_matches_stay_in_their_order():
    assert [chosen.tolist() for chosen in preset("loftr").selections(4)] == [[0, 1, 2, 3]]


def test_of_several_thresholds_the_best_is_reported():
    benchmark = Pairs(preset("gluefactory_opencv", thresholds_px=[100.0, 0.5, 2.0]))
    scores = scored(benchmark, seen(60, noise_px=0.3, wrong=0.3))
    found = benchmark.summarise({"a/0": scores}).values
    areas = {px: sum(pose_auc([scores[f"pose_error_{px:g}px_run1"]])) for px in (100.0, 0.5, 2.0)}
    assert found["threshold_px"] == max(areas, key=areas.get) != 100
    assert found["exact_auc_20"] == pose_auc([scores[f"pose_error_{found['threshold_px']:g}px_run1"]])[2]
    assert "best of 100, 0.5, 2 px" in benchmark.title


def test_a_result_says_its_protocol_solver_and_threshold():
    benchmark = Pairs(preset("superglue_yfcc"))
    assert benchmark.title == "Pairs (superglue_yfcc: OpenCV RANSAC, 1 px)"
    told = benchmark.protocol
    assert (told["preset"], told["solver"], told["thresholds_px"]) == (
        "superglue_yfcc",
        "OpenCV RANSAC",
        [1.0],
    )
    assert told["matched_image"] == "long side 1600 px" and told["failure_deg"] == "inf"


@pytest.mark.parametrize(
    ("name", "place", "expected"),
    [
        ("loftr", "outdoor", (480, 640)),
        ("loftr", "indoor", (480, 640)),
        ("roma", "outdoor", (900, 1200)),
        ("roma", "indoor", (480, 640)),
        ("superglue_yfcc", "outdoor", (1200, 1600)),
        ("gluefactory_opencv", "outdoor", (1200, 1600)),
    ],
)
def test_the_frame_in_which_a_threshold_is_one(name, place, expected):
    assert preset(name).conditions(place).frame_size(480, 640) == expected


def test_precision_is_of_the_squared_distance_or_of_the_mean_one_by_protocol():
    """A match 0.02 off its line in normalised units: squared 8e-4 for both lines, mean 0.02."""
    points0, points1 = seen()
    for name, expected in (("loftr", "squared"), ("gluefactory_opencv", "mean")):
        benchmark = Pairs(preset(name))
        item = benchmark.read(0)
        distances = benchmark._distances(item, answer(points0, points1 + [0.0, 6.0]))
        assert preset(name).distance == expected
        assert np.median(distances) == pytest.approx({"squared": 2e-4, "mean": 1e-2}[expected], rel=0.5)


def test_protocols_that_make_no_sense_are_refused():
    for wrong, said in (
        ({"thresholds_px": []}, "positive thresholds_px"),
        ({"runs": 0}, "at least one run"),
        ({"runs": 2}, "would all be the same"),
        ({"distance": "algebraic"}, "expected distance squared or mean"),
        ({"failure_deg": 10.0}, "failure_deg of at least 90"),
    ):
        with pytest.raises(Exception, match=said):
            preset("loftr", **wrong)


def test_pairs_without_sense_are_refused_by_name():
    good = pair("scene/7")
    still = torch.eye(4, dtype=torch.float64)
    for wrong, said in (
        ({"pose_0to1": still * math.nan}, "rigid pose"),
        ({"pose_0to1": still * 2}, "rigid pose"),
        ({"pose_0to1": still}, "no direction"),
        ({"intrinsics1": torch.zeros(3, 3, dtype=torch.float64)}, "expected a camera"),
        ({"image1": good.image1[:, :250]}, r"centre \(300, 250\) is no centre of 600 x 250 px"),
        ({"intrinsics0": good.intrinsics0 * torch.tensor([[2.0], [1], [1]])}, "is no centre of 640 x 480 px"),
    ):
        with pytest.raises(ValueError, match=f"list.npz: scene/7: .*{said}"):
            checked_pair(replace(good, **wrong), "list.npz: scene/7")
    assert checked_pair(good, "list.npz: scene/7") is good


def test_no_pair_has_no_area():
    with pytest.raises(ValueError, match="no pair"):
        Pairs(preset("loftr")).summarise({})


def test_what_is_stored_and_drawn(tmp_path):
    benchmark = Pairs(preset("loftr"))
    item = benchmark.read(0)
    points0, points1 = seen(30, wrong=0.5)
    found = benchmark.ask(matcher_of(points0, points1), item)
    stored = benchmark.arrays(item, found)
    assert np.allclose(stored["points0"], points0) and stored["size1"].tolist() == list(SIZES[1])
    path = benchmark.picture(item, found, tmp_path / "worst")
    assert path == tmp_path / "worst.png" and Image.open(path).width > 2 * 600
    for nothing in (answer(np.zeros((0, 2)), np.zeros((0, 2))),):
        benchmark.picture(item, nothing, tmp_path / "none")
