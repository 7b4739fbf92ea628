import numpy as np
import pytest

from retracker.metrics.homography import corners_of, mean_corner_error, warp

SHIFT = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 4.0], [0.0, 0.0, 1.0]])
TILTED = np.array([[1.1, 0.2, 5.0], [-0.1, 0.9, 3.0], [1e-3, -2e-3, 1.0]])


def official(estimate, truth, width, height):
    """The corner error as evaluators write it, corner by corner."""
    total = 0.0
    for x, y in ((0, 0), (width, 0), (width, height), (0, height)):
        there, here = estimate @ [x, y, 1.0], truth @ [x, y, 1.0]
        total += np.hypot(there[0] / there[2] - here[0] / here[2], there[1] / there[2] - here[1] / here[2])
    return total / 4


def test_a_shift_moves_every_corner_by_its_length():
    assert mean_corner_error(SHIFT, np.eye(3), corners_of(640, 480)) == 5.0


def test_a_scaling_moves_corners_by_how_far_they_are():
    twice = np.diag([2.0, 2.0, 1.0])  # moves (0,0), (0,4), (3,0), (3,4) by 0, 4, 3, 5
    assert mean_corner_error(twice, np.eye(3), corners_of(3, 4)) == 3.0


def test_a_homography_has_no_scale_of_its_own():
    assert mean_corner_error(-7.5 * TILTED, TILTED, corners_of(640, 480)) < 1e-11


def test_corner_errors_are_those_of_the_usual_evaluators():
    rng = np.random.default_rng(5)
    for _ in range(20):
        truth, estimate = (
            np.eye(3) + rng.normal(size=(3, 3)) * [[0.1, 0.1, 9], [0.1, 0.1, 9], [1e-4, 1e-4, 0]]
            for _ in range(2)
        )
        ours = mean_corner_error(estimate, truth, corners_of(639, 479))
        np.testing.assert_allclose(ours, official(estimate, truth, 639, 479), rtol=1e-12)


def test_without_an_answer_corners_go_to_the_origin_or_are_infinitely_far():
    nowhere = np.diag([0.0, 0.0, 1.0])  # what RoMa takes for a failure
    assert mean_corner_error(nowhere, np.eye(3), corners_of(3, 4)) == 3.0
    assert mean_corner_error(np.zeros((3, 3)), np.eye(3), corners_of(3, 4)) == float("inf")
    to_the_horizon = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1 / 3, 0.0, 1.0]])  # of x = 3
    assert mean_corner_error(to_the_horizon, np.eye(3), corners_of(3, 4)) == float("inf")


@pytest.mark.parametrize("point", [(0.0, 0.0), (10.0, 20.0), (3.0, -700.0)])
def test_points_are_divided_by_their_depth(point):
    there = TILTED @ [*point, 1.0]
    np.testing.assert_allclose(warp(TILTED, np.array([point]))[0], there[:2] / there[2], rtol=1e-15)
