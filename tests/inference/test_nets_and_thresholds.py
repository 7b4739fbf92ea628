"""What tracking and matching are given: a net that follows points, and thresholds other than its own."""

import pytest
import torch
from torch import nn

import retracker
from retracker.inference.export import export
from retracker.models.descriptor import FeatureBooster

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
