"""Epipolar distances: hand-computed, and as distances of points to lines that are drawn another way."""

import cv2
import numpy as np
import pytest

from retracker.metrics.epipolar import (
    essential_matrix,
    mean_symmetric_distance,
    normalised,
    precision,
    squared_symmetric_distance,
)


def pose(seed):
    matrix = np.eye(4)
    turn, matrix[:3, 3] = np.random.default_rng(seed).standard_normal((2, 3))
    matrix[:3, :3] = cv2.Rodrigues(turn)[0]
    return matrix


def test_a_step_to_the_side_has_level_lines():
    """x1^T E x0 = y0 - y1 or its opposite, both lines have normals of length 1: 0.3^2 + 0.3^2, and 0.3."""
    step = np.eye(4)
    step[0, 3] = 1
    xy0, xy1 = np.array([[0.1, 0.2]]), np.array([[-0.4, 0.5]])
    assert squared_symmetric_distance(xy0, xy1, essential_matrix(step)) == pytest.approx([0.18])
    assert mean_symmetric_distance(xy0, xy1, essential_matrix(step)) == pytest.approx([0.3])


def distance_to_line(point, one, other):
    """Of a point of the plane to the line through two others, by the area of their parallelogram."""
    (ax, ay), (bx, by) = other - one, point - one
    return abs(ax * by - ay * bx) / np.hypot(ax, ay)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_to_the_images_of_each_others_rays(seed):
    motion, random = pose(seed), np.random.default_rng(seed)
    xy0, xy1 = random.standard_normal((2, 7, 2))

    def seen(points, matrix):
        there = points @ matrix[:3, :3].T + matrix[:3, 3]
        return there[:2] / there[2] if there.ndim == 1 else there[:, :2] / there[:, 2:]

    found = squared_symmetric_distance(xy0, xy1, essential_matrix(motion))
    means = mean_symmetric_distance(xy0, xy1, essential_matrix(motion))
    back = np.linalg.inv(motion)
    for number, (a, b) in enumerate(zip(xy0, xy1, strict=True)):
        ahead = [seen(depth * np.array([*a, 1]), motion) for depth in (1.3, 2.9)]
        behind = [seen(depth * np.array([*b, 1]), back) for depth in (1.3, 2.9)]
        d1, d0 = distance_to_line(b, *ahead), distance_to_line(a, *behind)
        assert found[number] == pytest.approx(d0**2 + d1**2, rel=1e-9)
        assert means[number] == pytest.approx((d0 + d1) / 2, rel=1e-9)


def test_what_both_views_see_lies_on_the_lines_however_far_the_camera_moved():
    motion, random = pose(3), np.random.default_rng(0)
    points = random.standard_normal((20, 3)) + [0, 0, 5]
    for length in (1e-3, 1.0, 1e5):
        moved = motion.copy()
        moved[:3, 3] *= length
        there = points * length @ moved[:3, :3].T + moved[:3, 3]
        xy0, xy1 = points[:, :2] / points[:, 2:], there[:, :2] / there[:, 2:]
        assert squared_symmetric_distance(xy0, xy1, essential_matrix(moved)).max() < 1e-20


def test_pixels_become_coordinates_of_the_image_plane():
    camera = np.array([[100.0, 0, 32], [0, 200, 24], [0, 0, 1]])
    assert normalised(np.array([[42.0, 34.0]]), camera).tolist() == [[0.1, 0.05]]


def test_precision_counts_what_is_less_and_no_match_is_none():
    assert precision(np.array([0.0, 1e-4, 2e-4, np.nan]), 1e-4) == 0.25
    assert precision(np.zeros(0), 1e-4) == 0.0
