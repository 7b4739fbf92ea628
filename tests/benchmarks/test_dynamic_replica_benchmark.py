import math

import numpy as np
import pytest
import torch
from films_made import films, masked_mean, opened, oracle, random_clip
from layouts import dynamic_replica
from toy import clip, stays

THRESHOLDS = (1, 2, 4, 8, 16)


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    dynamic_replica.write(root / "dynamic_replica", films())
    split = (root / "dynamic_replica" / "train").rename(root / "dynamic_replica" / "valid")
    (split / "frame_annotations_train.jgz").rename(split / "frame_annotations_valid.jgz")
    return root


def test_the_valid_split_of_the_left_camera_is_read_as_it_is_stored(data_root):
    benchmark = opened("dynamic_replica", data_root)
    assert [benchmark.item_name(index) for index in range(len(benchmark))] == [
        "009850-3_obj_source",
        "009851-3_obj_source",
    ]
    item, truth = benchmark.read(0), films()[0]
    assert torch.equal(item.video, truth.video)
    assert item.queries.frame.eq(0).all() and torch.equal(item.queries.xy, item.tracks[0])
    size = torch.tensor([95.0, 63.0])  # one less than the frame: officially the last px counts as outside
    seen = truth.visible & ((truth.tracks >= 0) & (truth.tracks <= size)).all(-1)
    often = seen.sum(0) > 10
    assert 0 < often.sum() < len(often)
    assert torch.equal(item.tracks, truth.tracks[:, often]) and torch.equal(item.visible, seen[:, often])


def test_points_are_chosen_at_even_steps_before_those_that_are_seldom_seen_are_left_out(data_root):
    truth = films()[0]
    item = opened("dynamic_replica", data_root, points=4).read(0)
    wanted = truth.tracks[:, [0, 10, 20, 31]]  # of 32, rounded down
    assert all(
        any(torch.equal(track, other) for other in wanted.unbind(1)) for track in item.tracks.unbind(1)
    )
    drawn = [
        opened("dynamic_replica", data_root, points=20, choose="random").read(0).tracks for _ in range(2)
    ]
    assert torch.equal(*drawn)


def test_only_the_first_frames_are_read(data_root):
    assert len(opened("dynamic_replica", data_root, frames=12).read(0).video) == 12


def test_the_truth_scores_100(data_root):
    benchmark = opened("dynamic_replica", data_root)
    for index in range(2):
        item = benchmark.read(index)
        scores = benchmark.score(item, benchmark.ask(oracle(item), item))
        assert set(scores.values()) == {1.0}
    assert {column.metric for column in benchmark.columns} <= set(scores)
    assert {metric for curve in benchmark.curves for metric in curve.metrics} <= set(scores)
    assert benchmark.ranked_by in scores


def test_staying_where_one_is_asked_for_scores_what_one_computes_by_hand(data_root):
    # 256 px: a unit is a pixel. One point moves 20 px a frame and is hidden in frame 2, one stands still and
    # is first seen in frame 1: what counts of it are frames 2 and 3.
    tracks = [[[10.0 + 20 * t, 20.0], [30.0, 40.0]] for t in range(4)]
    item = clip(tracks, [[True, False], [True, True], [False, True], [True, True]])
    benchmark = opened("dynamic_replica", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    assert scores["delta_visible"] == scores["pts_within_16_visible"] == 2 / 4
    assert scores["delta_occluded"] == 0.0
    assert scores["delta_all"] == 2 / 5
    assert scores["survival_50"] == (3 + 4) / 8  # 60 px off in frame 3; 40 px in frame 2, where it is hidden


def test_the_unit_is_a_255th_of_the_last_pixel(data_root):
    tracks = torch.zeros(2, 1, 2) + 5.0
    item = clip(tracks, [[True], [True]], size=511)  # 2 px a unit
    benchmark = opened("dynamic_replica", data_root)
    for off, found in ((1.99, 1.0), (2.0, 0.8)):
        answer = benchmark.ask(oracle(item), item)
        answer.tracks[1] += torch.tensor([off, 0.0])
        assert benchmark.score(item, answer)["delta_visible"] == pytest.approx(found, abs=1e-12)


def test_where_nothing_is_hidden_the_metric_of_hidden_points_is_undefined(data_root):
    item = clip([[[5.0, 5.0]]] * 3, [[True]] * 3)
    benchmark = opened("dynamic_replica", data_root)
    scores = benchmark.score(item, benchmark.ask(stays, item))
    assert math.isnan(scores["delta_occluded"]) and scores["delta_visible"] == 1.0


def official(item, answer):
    """The formula of CoTracker's evaluator, from its description."""
    height, width = item.video.shape[-2:]
    scale = torch.tensor([(width - 1) / 255.0, (height - 1) / 255.0])
    distance = torch.norm(answer.tracks / scale - item.tracks / scale, dim=-1)
    visible = item.visible.float()
    after = torch.arange(len(visible))[:, None] > visible.argmax(0)
    result = {}
    for name, mask in (("visible", visible * after), ("occluded", (1 - visible) * after), ("all", after)):
        shares = [masked_mean(distance < threshold, mask) for threshold in THRESHOLDS]
        result |= {f"pts_within_{t}_{name}": s for t, s in zip(THRESHOLDS, shares, strict=True)}
        result[f"delta_{name}"] = sum(shares) / 5
    alive = torch.cumprod(1 - (distance > 50).float() * visible, dim=0)
    return result | {"survival_50": alive.mean().item()}


@pytest.mark.parametrize("seed", range(10))
def test_random_answers_score_as_with_the_official_formula(data_root, seed):
    item, answer = random_clip(seed)
    item = type(item)(**{**vars(item), "located": torch.ones_like(item.visible)})
    answer.tracks[5, 3] += 100.0
    scores, expected = opened("dynamic_replica", data_root).score(item, answer), official(item, answer)
    assert scores.keys() == expected.keys()
    np.testing.assert_allclose(list(scores.values()), [expected[key] for key in scores], rtol=0, atol=2e-7)


def test_what_is_not_there_is_told_in_one_sentence(tmp_path, data_root):
    with pytest.raises(
        FileNotFoundError, match="has nothing of Dynamic Replica; expected dynamic_replica/valid"
    ):
        opened("dynamic_replica", tmp_path)
    with pytest.raises(ValueError, match="choose: expected even or random, got 'all'"):
        opened("dynamic_replica", data_root, choose="all")


def test_a_position_that_is_none_is_a_miss(tmp_path):
    truth = films()[0]
    dynamic_replica.write(tmp_path, [truth])
    split = (tmp_path / "train").rename(tmp_path / "valid")
    (split / "frame_annotations_train.jgz").rename(split / "frame_annotations_valid.jgz")
    path = split / "009850-3_obj_source_left" / "trajectories" / "000007.pth"
    frame = torch.load(path)
    frame["traj_2d"][:, 0] = torch.nan
    torch.save(frame, path)
    benchmark = opened("dynamic_replica", tmp_path)
    item = benchmark.read(0)
    assert not item.located[7].any() and not item.visible[7].any()
    scores = benchmark.score(item, benchmark.ask(oracle(item), item))
    assert scores["delta_visible"] == 1.0 and scores["delta_occluded"] < 1.0
    path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="000007.pth: cannot be read") as caught:
        benchmark.read(0)
    assert "\n" not in str(caught.value)
