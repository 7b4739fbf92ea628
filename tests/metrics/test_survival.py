import numpy as np
import pytest

from retracker.metrics.survival import median_trajectory_error, share_within, survival

# Frame by frame: three points, the second of which does not count in frame 2.
DISTANCE = np.array([[0.0, 0.0, 9.0], [1.0, 4.0, 0.5], [3.0, 90.0, 8.0], [0.5, 2.0, 7.0]], np.float32)
COUNTED = np.array([[True, True, True], [True, True, True], [True, False, True], [True, True, True]])


def test_a_position_exactly_at_the_threshold_is_not_found():
    assert share_within(DISTANCE, COUNTED, 1) == 4 / 11  # 0, 0.5, 0, 0.5; not 1.0
    assert share_within(DISTANCE, COUNTED, 1.01) == 5 / 11


def test_where_nothing_counts_there_is_no_share():
    assert np.isnan(share_within(DISTANCE, np.zeros_like(COUNTED), 1))


def test_a_point_survives_until_it_is_first_too_far_off_where_it_counts():
    assert survival(DISTANCE, COUNTED, 8) == (4 + 4 + 0) / 12
    assert survival(DISTANCE, COUNTED, 3) == (4 + 1 + 0) / 12  # 3 is not farther off than 3
    assert survival(DISTANCE, COUNTED, 2) == (2 + 1 + 0) / 12


def test_a_point_that_is_lost_for_one_frame_does_not_come_back_to_life():
    distance = np.array([[0.0], [99.0], [0.0], [0.0]])
    assert survival(distance, np.ones((4, 1), bool), 50) == 1 / 4


def test_without_points_nothing_survives_or_is_lost():
    assert np.isnan(survival(np.zeros((4, 0)), np.zeros((4, 0), bool), 50))


def test_the_median_of_each_point_over_its_own_frames_then_the_mean():
    # 0, 0.5, 1, 3 -> 0.75;  0, 2, 4 -> 2;  0.5, 7, 8, 9 -> 7.5
    assert median_trajectory_error(DISTANCE, COUNTED) == pytest.approx((0.75 + 2 + 7.5) / 3, abs=1e-12)


def test_a_point_that_never_counts_is_left_out_of_the_mean():
    counted = COUNTED & np.array([True, False, True])
    assert median_trajectory_error(DISTANCE, counted) == pytest.approx((0.75 + 7.5) / 2, abs=1e-12)
    assert np.isnan(median_trajectory_error(DISTANCE, np.zeros_like(COUNTED)))
