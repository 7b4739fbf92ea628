"""Pose errors and their areas: golden values of the reference, and a second computation of each formula."""

import math

import cv2
import numpy as np
import pytest

from retracker.metrics.pose import (
    approximate_pose_auc,
    pose_auc,
    rotation_error,
    share_below,
    translation_error,
)


def test_golden_areas():
    assert pose_auc([1, 3, 8, 30]) == pytest.approx([0.375, 0.55, 0.65], abs=1e-15)


def test_no_error_is_a_whole_area_and_failure_is_none():
    assert pose_auc([0.0]) == [1.0, 1.0, 1.0]
    assert pose_auc([math.inf]) == [0.0, 0.0, 0.0]


def test_an_error_of_exactly_the_threshold_is_too_large():
    assert pose_auc([5.0], [5]) == [0.0]


def test_failures_count_among_the_pairs_whatever_stands_for_them():
    assert pose_auc([1.0, math.inf]) == pose_auc([1.0, 90.0])
    assert pose_auc([1.0, math.inf], [5])[0] == pytest.approx((0.25 + 4 * 0.5) / 5)


def official_areas(errors, thresholds):
    """Word for word what the formula of the reference says, in lists and with numpy's own trapezoid."""
    e = [0.0, *sorted(errors)]
    r = [k / len(errors) for k in range(len(errors) + 1)]
    areas = []
    for tau in thresholds:
        i = sum(error < tau for error in e)
        areas.append(np.trapezoid([*r[:i], r[i - 1]], [*e[:i], tau]) / tau)
    return areas


@pytest.mark.parametrize("seed", range(20))
def test_areas_are_those_of_a_second_computation_digit_for_digit(seed):
    random = np.random.default_rng(seed)
    errors = random.gamma(1, 8, size=random.integers(1, 400))
    errors[random.random(len(errors)) < 0.1] = np.inf
    assert pose_auc(errors) == official_areas(errors.tolist(), [5, 10, 20])


@pytest.mark.parametrize("seed", range(5))
def test_the_approximate_area_is_the_mean_of_a_histogram_in_steps_of_five_degrees(seed):
    errors = np.random.default_rng(seed).gamma(1, 8, size=200)
    shares = np.cumsum(np.histogram(errors, np.arange(0, 200, 5))[0]) / len(errors)
    assert approximate_pose_auc(errors) == pytest.approx([shares[:k].mean() for k in (1, 2, 4)], abs=1e-15)


def test_the_approximate_area_is_larger():
    assert approximate_pose_auc([1, 3, 8, 30]) == [0.5, 0.625, 0.6875]


@pytest.mark.parametrize("errors", [[math.nan], [1.0, math.nan], [-1.0], [], np.ones((1, 1))])
def test_what_is_no_error_is_refused(errors):
    for area in (pose_auc, approximate_pose_auc):
        with pytest.raises(ValueError, match="pose error"):
            area(errors)


def test_thresholds_must_make_sense():
    with pytest.raises(ValueError, match="positive degrees"):
        pose_auc([1.0], [0])
    with pytest.raises(ValueError, match="multiples of 5"):
        approximate_pose_auc([1.0], [3])


def test_a_share_counts_what_is_less():
    assert share_below([1.0, 2.0, 3.0, math.inf], 2) == 0.25


def test_a_rotation_error_is_the_angle_between_two_rotations():
    random = np.random.default_rng(0)
    for angle in (0.0, 0.5, 40.0, 179.0):
        axis = random.standard_normal(3)
        turn = cv2.Rodrigues(np.deg2rad(angle) * axis / np.linalg.norm(axis))[0]
        start = cv2.Rodrigues(random.standard_normal(3))[0]
        assert rotation_error(start @ turn, start) == pytest.approx(angle, abs=1e-5)


def test_a_translation_has_neither_sign_nor_length():
    east, leaning = np.array([2.0, 0, 0]), np.array([math.cos(math.pi / 6), math.sin(math.pi / 6), 0])
    assert translation_error(leaning, east) == pytest.approx(30)
    assert translation_error(-3 * leaning, east) == pytest.approx(30)
    assert translation_error(np.array([0, 1.0, 0]), east) == pytest.approx(90)


def test_a_translation_of_no_length_is_refused():
    with pytest.raises(ValueError, match="no direction"):
        translation_error(np.zeros(3), np.ones(3))
