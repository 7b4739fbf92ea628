import numpy as np

from retracker.metrics.matching import matching_accuracy, transfer_errors

TILTED = np.array([[1.1, 0.2, 5.0], [-0.1, 0.9, 3.0], [1e-3, -2e-3, 1.0]])


def official(points0, points1, homography, thresholds):
    """D2-Net's share of right matches, match by match; a pair without matches has one infinitely wrong."""
    errors = []
    for (x0, y0), (x1, y1) in zip(points0, points1, strict=True):
        x, y, w = homography @ [x0, y0, 1.0]
        errors.append(np.sqrt((x / w - x1) ** 2 + (y / w - y1) ** 2))
    errors = np.array(errors or [np.inf])
    return [np.mean(errors <= t) for t in thresholds]


def test_an_error_is_the_distance_in_the_second_image():
    points = np.array([[0.0, 0.0], [1.0, 2.0]])
    errors = transfer_errors(points, points * 2 + [[3.0, 4.0], [0.0, 0.0]], np.diag([2.0, 2.0, 1.0]))
    assert errors.tolist() == [5.0, 0.0]


def test_a_match_right_at_the_threshold_counts():
    assert matching_accuracy(np.array([0.0, 1.0, 1.5, 40.0]), (1, 2, 3.5)) == [0.5, 0.75, 0.75]


def test_a_pair_without_matches_has_none_that_are_right():
    assert matching_accuracy(np.zeros(0), (1, 3)) == [0.0, 0.0]


def test_the_graffiti_pair_has_its_known_shares():
    # SIFT and SIFT with FeatureBooster: matches, those within 3 px, and the share that was reported.
    for matches, right, share in ((1419, 620, 0.437), (1669, 789, 0.473)):
        errors = np.where(np.arange(matches) < right, 2.9, 3.1)
        assert round(matching_accuracy(errors, (3,))[0], 3) == share


def test_what_is_not_finite_is_wrong():
    assert matching_accuracy(np.array([np.nan, np.inf, 0.0, 0.0]), (10,)) == [0.5]


def test_shares_are_those_of_d2_net():
    rng = np.random.default_rng(3)
    for count in (0, 1, 300):
        points0 = rng.uniform(0, 500, (count, 2))
        moved = np.concatenate([points0, np.ones((count, 1))], 1) @ TILTED.T
        points1 = moved[:, :2] / moved[:, 2:] + rng.normal(size=(count, 2)) * 3
        ours = matching_accuracy(transfer_errors(points0, points1, TILTED), range(1, 11))
        assert ours == official(points0, points1, TILTED, range(1, 11))
