"""What users import from ``retracker``."""

import inspect

import numpy as np
import pytest
import torch

import retracker
from retracker.data import safe_pickle
from retracker.metrics.pose import pose_auc
from retracker.metrics.tapvid import compute_tapvid_metrics
from retracker.models.descriptor import FeatureBooster


def test_every_public_name_is_there():
    for name in retracker.__all__:
        assert callable(getattr(retracker, name))


def test_track_and_match_are_functions_and_stay_so_after_their_commands_were_imported():
    import retracker.commands.match  # noqa: PLC0415 -- importing it must not shadow the function
    import retracker.commands.track  # noqa: PLC0415

    assert inspect.isfunction(retracker.track) and inspect.isfunction(retracker.match)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        retracker.nothing_of_the_kind  # noqa: B018


def test_names_that_scripts_outside_rely_on_are_called_as_the_contract_says():
    booster = FeatureBooster.from_preset("SIFT+Boost-F").eval()
    descriptors, keypoints = torch.rand(2, 5, 128), torch.rand(2, 5, 4)
    for mask in (None, torch.ones(2, 5, dtype=torch.bool)):
        assert booster(descriptors, keypoints, mask).shape == (2, 5, 128)
    assert pose_auc([1.0, 3.0, 8.0, 30.0], thresholds=(5, 10, 20)) == pytest.approx([0.375, 0.55, 0.65])
    assert callable(safe_pickle.load)
    tracks, hidden = np.zeros((1, 1, 3, 2)), np.zeros((1, 1, 3), bool)
    scores = compute_tapvid_metrics(np.zeros((1, 1, 3)), hidden, tracks, hidden, tracks, "first")
    assert scores["average_jaccard"] == 1
