"""What tracking and matching are given: a net that follows points, and thresholds other than its own."""

import pytest
import torch
from torch import nn

import retracker
from retracker.inference.export import export
from retracker.models.descriptor import FeatureBooster
from retracker.models.tracker import surer_than
from retracker.types import Estimate

FRAME = torch.zeros(3, 64, 64, dtype=torch.uint8)
USES = {
    "track": lambda net: retracker.track(net, FRAME[None], [[0, 5.0, 5.0]]),
    "OnlineTracker": retracker.OnlineTracker,
    "CoTrackerPredictor": retracker.CoTrackerPredictor,
    "CoTrackerOnlinePredictor": retracker.CoTrackerOnlinePredictor,
    "match": lambda net: retracker.match(net, FRAME, FRAME),
    "PairMatcher": retracker.PairMatcher,
    "warp": lambda net: retracker.warp(net, FRAME, FRAME),
    "export": lambda net: export(net, "nowhere", 64, 64, 1),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_net_that_follows_no_points_is_refused_by_its_name(use):
    booster = FeatureBooster.from_preset("ORB+Boost-B")
    with pytest.raises(
        ValueError, match=r"^model: .* which a FeatureBooster does not \(see retracker boost\)$"
    ):
        use(booster)
    with pytest.raises(ValueError, match=r"^model: .* which a Conv2d does not$"):
        use(nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize(("subpixel", "backward"), [(True, False), (False, True)])
def test_a_threshold_decides_who_is_visible_and_moves_nobody(model, sample, queries, subpixel, backward):
    model.visible_threshold = 0.2  # of these random weights' points it calls most visible, and some hidden
    asked = {"backward": backward, "subpixel": subpixel}
    own = retracker.track(model, sample.video, queries, **asked)
    every, none = (
        retracker.track(model, sample.video, queries, visible_threshold=limit, **asked) for limit in (0, 1)
    )
    for found in (every, none):
        assert torch.equal(found.tracks, own.tracks) and torch.equal(found.confidence, own.confidence)
    now, birth = torch.arange(len(sample.video))[:, None], queries[:, 0].long()
    assert torch.equal(every.visible, (now >= birth) | torch.tensor(backward))
    assert torch.equal(none.visible, now == birth)
    assert model.visible_threshold == 0.2 and none.visible.sum() < own.visible.sum() < every.visible.sum()


def test_a_probability_that_rounds_to_nothing_is_visible_at_0_and_certainty_is_hidden_at_1():
    hopeless, certain = ((torch.full((1, 1), sign * 200.0)) for sign in (-1, 1))
    for sure, at_0, at_1 in ((hopeless, True, False), (certain, True, False)):
        found = Estimate(xy=torch.zeros(1, 1, 2), certainty=sure, occlusion=-sure)
        assert bool(surer_than(found, 0)) == at_0 and bool(surer_than(found, 1)) == at_1


def test_a_stream_has_a_threshold_of_its_own_and_takes_it_into_its_snapshot(model, sample):
    model.visible_threshold = 2.0
    points = sample.queries.xy
    tracker, other = retracker.OnlineTracker(model, visible_threshold=0), retracker.OnlineTracker(model)
    for each in (tracker, other):
        each.add_queries(points)
        each.step(sample.video[0])
    kept = tracker.snapshot()
    seen, hidden = tracker.step(sample.video[1]), other.step(sample.video[1])
    assert torch.equal(seen.tracks, hidden.tracks) and torch.equal(seen.confidence, hidden.confidence)
    assert seen.visible.all() and not hidden.visible.any()
    other.restore(kept)
    assert other.step(sample.video[1]).visible.all()


@pytest.mark.parametrize("mutual", [False, True])
def test_a_threshold_decides_what_is_matched_and_moves_no_match(model, sample, mutual):
    a, b = sample.video[0], sample.video[3, :, :40]  # of another shape: there are ways to look at it
    model.visible_threshold = 2.0
    points = [[20.0, 20.0], [30.0, 12.0], [12.0, 30.0], [40.0, 20.0]]
    asked = {"points": points, "mutual": mutual, "round_trip_px": 100}
    every = retracker.match(model, a, b, match_threshold=0, **asked)
    own = retracker.match(model, a, b, **asked)
    assert len(retracker.match(model, a, b, match_threshold=1, **asked)) == 0
    assert len(every) > 0
    among = torch.isin(every.index, own.index)
    assert torch.equal(every.points_b[among], own.points_b)
    model.match_threshold = -1.0  # as if there were none
    assert torch.equal(retracker.match(model, a, b, **asked).points_b, every.points_b)


def test_a_warp_is_certain_where_the_threshold_is_passed(model, sample):
    a, b = sample.video[0], sample.video[3]
    every, none = (retracker.warp(model, a, b, grid=4, match_threshold=limit) for limit in (0, 1))
    assert torch.equal(every.positions, none.positions)
    assert every.certainty.any() and not none.certainty.any()


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(model, value):
    told = "expected a number from 0 to 1, got"
    with pytest.raises(ValueError, match=f"^visible_threshold: {told}"):
        retracker.track(model, FRAME[None], [[0, 5.0, 5.0]], visible_threshold=value)
    with pytest.raises(ValueError, match=f"^visible_threshold: {told}"):
        retracker.OnlineTracker(model, visible_threshold=value)
    with pytest.raises(ValueError, match=f"^match_threshold: {told}"):
        retracker.match(model, FRAME, FRAME, match_threshold=value)
