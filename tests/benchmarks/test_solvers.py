"""Solvers of relative pose: exact input, the thresholds of each protocol, and what has no solution."""

import importlib.util
from contextlib import suppress

import cv2
import numpy as np
import pytest
from posed_points import CAMERAS, motion, seen

from retracker.benchmarks.solvers import FOCALS, NoPoseError, OpenCV, PoseLib, best_pose
from retracker.metrics.epipolar import essential_matrix, normalised
from retracker.metrics.pose import rotation_error, translation_error


def opencv(**changed):
    return OpenCV(**{"method": "RANSAC", "focal": "mean_focal", "confidence": 0.99999} | changed)


def errors(found):
    true = motion()
    return rotation_error(found.rotation, true[:3, :3]), translation_error(found.translation, true[:3, 3])


needs_poselib = pytest.mark.skipif(importlib.util.find_spec("poselib") is None, reason="poselib is missing")


@pytest.mark.parametrize("focal", FOCALS)
def test_exact_points_give_the_exact_pose(focal):
    found = opencv(focal=focal)(*seen(), CAMERAS, 0.5)
    assert max(errors(found)) < 1e-4 and found.inliers.all()


@needs_poselib
def test_so_they_do_with_poselib():
    found = PoseLib(options={})(*seen(), CAMERAS, 1.0)
    assert max(errors(found)) < 1e-4 and found.inliers.all()


@needs_poselib
@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_wrong_matches_are_told_apart(threshold):
    points = seen(noise_px=0.2, wrong=0.4)
    exact = seen()[1]
    wrong = np.linalg.norm(points[1] - exact, axis=1) > 20
    for solver in (opencv(), PoseLib(options={})):
        found = solver(*points, CAMERAS, threshold)
        assert max(errors(found)) < 2
        assert found.inliers[~wrong].mean() > 0.6 and found.inliers[wrong].mean() < 0.2


def test_a_threshold_is_divided_as_the_official_codes_do():
    """fx0 500, fy0 520, fx1 610, fy1 600: SuperGlue's typo takes fx0 and fy1 twice each."""
    assert FOCALS["first_x_second_y"](*CAMERAS) == pytest.approx(550)
    assert FOCALS["mean_focal"](*CAMERAS) == pytest.approx(557.5)
    romas = np.mean(np.abs(CAMERAS[0][:2, :2])) + np.mean(np.abs(CAMERAS[1][:2, :2]))
    assert FOCALS["mean_focal"](*CAMERAS) == pytest.approx(romas)


def official(points0, points1, threshold):
    """The same steps, written once more after the reference: split by blocks, the same mask for all."""
    camera0, camera1 = CAMERAS
    rays0 = (points0 - camera0[[0, 1], [2, 2]][None]) / camera0[[0, 1], [0, 1]][None]
    rays1 = (points1 - camera1[[0, 1], [2, 2]][None]) / camera1[[0, 1], [0, 1]][None]
    threshold = threshold / np.mean([camera0[0, 0], camera1[1, 1], camera0[0, 0], camera1[1, 1]])
    found, mask = cv2.findEssentialMat(
        rays0, rays1, np.eye(3), threshold=threshold, prob=0.99999, method=cv2.RANSAC
    )
    outcomes = []
    for block in np.split(found, len(found) // 3):
        outcomes.append(cv2.recoverPose(block, rays0, rays1, np.eye(3), 1e9, mask=mask)[:3])
    counts = [count for count, _, _ in outcomes]
    count, rotation, translation = outcomes[counts.index(max(counts))]
    return count, rotation, translation[:, 0]


@pytest.mark.parametrize("far", [1.0, 8.0])
@pytest.mark.parametrize("count", [5, 6, 40, 300])
def test_poses_are_those_of_the_official_steps_bit_for_bit(count, far):
    points = seen(count, seed=count, noise_px=0.3, wrong=0.2 if count > 6 else 0.0, far=far)
    solver = opencv(focal="first_x_second_y")
    count, rotation, translation = official(*points, 0.5)
    if not count:
        with pytest.raises(NoPoseError):
            solver(*points, CAMERAS, 0.5)
        return
    found = solver(*points, CAMERAS, 0.5)
    assert np.array_equal(found.rotation, rotation) and np.array_equal(found.translation, translation)


def test_of_several_essential_matrices_the_one_that_sees_most_points_is_taken():
    points0, points1 = seen(50)
    xy0, xy1 = normalised(points0, CAMERAS[0]), normalised(points1, CAMERAS[1])
    elsewhere = motion()
    elsewhere[:3, :3] = cv2.Rodrigues(np.array([0.0, 2.0, 0.0]))[0]
    right, wrong = essential_matrix(motion()), essential_matrix(elsewhere)
    mask = np.ones((50, 1), np.uint8)
    mask[:3] = 0  # outliers of the essential matrix stay outliers of the pose
    found = best_pose(np.concatenate([right, wrong]), mask, xy0, xy1)
    assert max(errors(found)) < 1e-4 and found.inliers.sum() == 47


def test_the_same_points_give_the_same_pose_whatever_opencvs_generator_says():
    points = seen(60, noise_px=0.5, wrong=0.3)
    poses = []
    for seed in (1, 2):
        cv2.setRNGSeed(seed)
        poses.append(opencv()(*points, CAMERAS, 0.5).rotation)
    assert np.array_equal(*poses)


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_points_have_no_pose(count):
    for solver in (opencv(), *([PoseLib(options={})] if importlib.util.find_spec("poselib") else [])):
        with pytest.raises(NoPoseError):
            solver(*seen(count), CAMERAS, 0.5)


@pytest.mark.parametrize("points", [[[100.0, 120.0]] * 20, [[0.0, 0.0]] * 20, [[k, k] for k in range(20)]])
def test_points_that_leave_the_pose_open_are_a_failure_or_some_pose_but_no_crash(points):
    for solver in (opencv(), opencv(method="USAC_MAGSAC")):
        with suppress(NoPoseError):
            found = solver(np.array(points, np.float64), np.array(points, np.float64) + 3, CAMERAS, 0.5)
            assert np.isfinite(found.rotation).all() and np.isfinite(found.translation).all()


def test_points_beyond_50_baselines_do_not_count_as_in_the_official_codes():
    """Their 1e9 for that distance has no effect, see solvers.py; PoseLib knows no such limit."""
    near, far = opencv()(*seen(far=5.0), CAMERAS, 0.5), seen(far=20.0)
    assert near.inliers.all()
    with pytest.raises(NoPoseError):
        opencv()(*far, CAMERAS, 0.5)


def test_no_essential_matrix_is_no_pose():
    with pytest.raises(NoPoseError):
        best_pose(None, np.ones((5, 1), np.uint8), *seen(5))


@pytest.mark.parametrize("wrong", [{"method": "LMEDS"}, {"focal": "fx"}, {"confidence": 1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match="expected method RANSAC or USAC_MAGSAC, focal"):
        opencv(**wrong)


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install poselib"):
        PoseLib(options={})
