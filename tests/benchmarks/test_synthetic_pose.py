"""The embedded pairs of relative pose: exact cameras, groups, presets."""

import pytest
import torch
from presets import open_benchmark

from retracker.benchmarks.protocol import Matched
from retracker.data.datasets.synthetic_posed import SyntheticPosed
from retracker.data.synthetic.posed import posed_view, validation_seed
from retracker.data.synthetic.seeds import RESERVED, training_seed
from retracker.geometry.camera import project, transform, unproject

SMALL = ("benchmark.size=64", "benchmark.pairs=2")


@pytest.fixture(scope="module")
def benchmark():
    return open_benchmark("synthetic_pose", "nowhere", *SMALL)


@pytest.fixture(scope="module")
def item(benchmark):
    return benchmark.read(0)


def exact(item, index):
    """Matches by depth: pixels' centres of image 0 where image 1 has them."""
    depth = posed_view(validation_seed("easy", index), "easy", 64, 0).depth
    row, column = (depth > 0).nonzero().unbind(-1)
    xy = torch.stack([column, row], dim=-1).double() + 0.5
    there = transform(item.pose_0to1, unproject(xy, depth[row, column].double(), item.intrinsics0))
    moved, ahead = project(there, item.intrinsics1)
    kept = (ahead > 0) & ((moved > 0) & (moved < 64)).all(-1)
    return Matched(points0=xy[kept], points1=moved[kept], confidence=torch.ones(int(kept.sum())))


def test_pairs_are_in_groups_and_have_names_of_their_own(benchmark):
    assert [benchmark.item_name(i) for i in range(len(benchmark))] == [
        f"{group}/{n}" for group in ("easy", "medium", "hard") for n in range(2)
    ]
    assert [benchmark.group(i) for i in (0, 2, 5)] == ["easy", "medium", "hard"]
    assert benchmark.title == "synthetic_pose (loftr: OpenCV RANSAC, 0.5 px)"


def test_true_matches_score_100(benchmark, item):
    score = benchmark.score(item, benchmark.ask(lambda *_: exact(item, 0), item))
    assert score["pose_error"] < 0.05 and score["epipolar_precision"] == 1.0
    assert score["inliers"] == score["matches"] > 500
    areas = benchmark.summarise({"easy/0": score}).values
    assert areas["exact_auc_5"] > 0.99


def test_matches_off_their_epipolar_lines_are_seen(benchmark, item):
    found = exact(item, 0)
    moved = Matched(points0=found.points0, points1=found.points1 + 2, confidence=found.confidence)
    assert benchmark.score(item, moved)["epipolar_precision"] < 0.9
    assert benchmark.score(item, found)["epipolar_precision"] == 1.0


def test_pairs_are_matched_as_rendered_under_any_preset():
    for preset in ("loftr", "roma", "superglue_yfcc", "gluefactory_opencv"):
        benchmark = open_benchmark("synthetic_pose", "nowhere", f"protocol={preset}", *SMALL)
        item, shown = benchmark.read(0), []

        def matcher(image0, image1, item=item, shown=shown):
            shown.append((image0, image1))
            return exact(item, 0)

        score = benchmark.score(item, benchmark.ask(matcher, item))
        assert torch.equal(shown[0][0], item.image0) and torch.equal(shown[0][1], item.image1)
        assert score["epipolar_precision"] == 1.0 and score["solved"] == 1.0, preset
        assert benchmark.protocol["matched_image"] == "stored size"


def test_a_pair_is_always_the_same_and_no_pair_of_training(item):
    again = open_benchmark("synthetic_pose", "nowhere", *SMALL).read(0)
    assert torch.equal(again.image0, item.image0) and torch.equal(again.pose_0to1, item.pose_0to1)
    assert validation_seed("hard", 99_999) < RESERVED <= training_seed(0, 0)
    trained = SyntheticPosed(2, "easy", 64, seed=0)[0]
    assert not torch.equal(trained.image0, item.image0)


def test_quick_takes_fewer():
    quick, whole = (open_benchmark("synthetic_pose", "x", f"quick={word}") for word in ("true", "false"))
    assert (len(quick), len(whole)) == (30, 300) and quick.title != whole.title


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("benchmark.groups=[easy,odd]", "has the groups easy, medium, hard.*got .'easy', 'odd'."),
        ("benchmark.pairs=0", "at least one pair"),
        ("benchmark.groups=[]", "synthetic_pose has the groups"),
    ],
)
def test_what_there_is_not_is_told(override, message):
    with pytest.raises(ValueError, match=message):
        open_benchmark("synthetic_pose", "x", override)
