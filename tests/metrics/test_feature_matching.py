"""Matching accuracy of keypoints whose places in the other image are known: small cases by hand."""

import torch

from retracker.metrics.feature_matching import mutual_accuracy, mutual_nearest
from retracker.types import FeaturePair, LocalFeatures

DISTANCE = torch.tensor([[[0.0, 1.0, 2.0], [0.5, 3.0, 3.0], [9.0, 9.0, 1.5]]])
ALL = torch.ones(1, 3, dtype=torch.bool)


def features(xy, present):
    return LocalFeatures(
        xy=xy,
        geometry=torch.zeros(1, 3, 1),
        descriptors=torch.zeros(1, 3, 4),
        present=present,
        size=torch.tensor([[50, 50]]),
    )


def pair(moved0, known0, present1=ALL):
    xy = torch.tensor([[[10.0, 10.0], [20.0, 20.0], [30.0, 30.0]]])
    return FeaturePair(
        features0=features(xy, ALL),
        features1=features(xy, present1),
        moved0=moved0,
        known0=known0,
        moved1=moved0,
        known1=known0,
        name=("hand",),
    )


def test_neighbours_are_mutual():
    # Row 1 would like column 0, which is nearer to row 0.
    assert mutual_nearest(DISTANCE, ALL, ALL)[0].nonzero().tolist() == [[0, 0], [2, 2]]


def test_what_is_padding_is_nobodys_neighbour():
    first = torch.tensor([[False, True, True]])
    assert mutual_nearest(DISTANCE, first, ALL)[0].nonzero().tolist() == [[1, 0], [2, 2]]
    assert not mutual_nearest(DISTANCE, first & False, ALL).any()


def test_matches_count_within_the_threshold_and_where_the_truth_is_known():
    moved = torch.tensor([[[10.0, 12.9], [0.0, 0.0], [30.0, 33.1]]])
    assert mutual_accuracy(DISTANCE, pair(moved, ALL), 3).item() == 0.5
    assert mutual_accuracy(DISTANCE, pair(moved, ALL), 3.2).item() == 1.0
    assert mutual_accuracy(DISTANCE, pair(moved, ~ALL), 3.2).item() == 0.0


def test_a_pair_without_matches_has_no_accuracy():
    assert mutual_accuracy(DISTANCE, pair(torch.zeros(1, 3, 2), ALL, ~ALL), 3).item() == 0.0
