"""What moves with the camera leaves no trail; what moves by itself keeps its own."""

import numpy as np
import pytest
import torch

from retracker.visualize.camera_motion import CameraMotion, estimate
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter


def camera(t):
    """From the world to frame t: a turn, a zoom and a pan, about (160, 120)."""
    angle, scale = 0.01 * t, 1.01**t
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([160.0, 120.0])
    return turn, centre - turn @ centre + np.array([3.0, -1.5]) * t


def filmed(world):
    """World paths as the camera sees them. [T N 2]"""
    return np.stack([xy @ camera(t)[0].T + camera(t)[1] for t, xy in enumerate(world)])


def scene(num_frames=20, num_still=40, num_movers=1):
    rng = np.random.default_rng(0)
    world = np.repeat(rng.uniform((20, 20), (300, 220), (1, num_still + num_movers, 2)), num_frames, axis=0)
    world[:, num_still:] += np.arange(num_frames)[:, None, None] * np.array([-4.0, 2.0])
    return filmed(world), np.ones(world.shape[:2], bool)


@pytest.mark.parametrize("num_still", [12, 40])
def test_points_of_the_background_are_brought_to_where_they_are(num_still):
    tracks, visible = scene(num_still=num_still)
    motion = CameraMotion(tracks, visible, unit=1)
    for source, target in ((0, 19), (19, 0), (5, 17)):
        brought = motion.bring(tracks[source], source, target)
        np.testing.assert_allclose(brought[:num_still], tracks[target, :num_still], atol=0.05)
        # The mover's way in the world, as the target frame shows it.
        own = camera(target)[0] @ np.array([-4.0, 2.0]) * (target - source)
        np.testing.assert_allclose(tracks[target, -1] - brought[-1], own, atol=0.1)


def test_noise_does_not_add_up():
    tracks, visible = scene(num_frames=60, num_still=200)
    noisy = tracks + np.random.default_rng(1).normal(0, 0.2, tracks.shape)
    brought = CameraMotion(noisy, visible, unit=1).bring(tracks[0], 0, 59)
    assert np.abs(brought[:200] - tracks[59, :200]).max() < 1.0


def test_points_that_come_and_go_carry_the_motion_on():
    tracks, visible = scene(num_frames=30, num_still=120)
    for n in range(120):
        visible[:, n] = np.abs(np.arange(30) - n // 4) < 8  # nobody is there all the time
    brought = CameraMotion(tracks, visible, unit=1).bring(tracks[0], 0, 29)
    np.testing.assert_allclose(brought[:120], tracks[29, :120], atol=0.1)


def test_a_still_camera_does_not_follow_a_third_that_walks():
    rng = np.random.default_rng(2)
    tracks = np.repeat(rng.uniform(10, 200, (1, 60, 2)), 10, axis=0) + rng.normal(0, 0.05, (10, 60, 2))
    tracks[:, :20] += 2.0 * np.arange(10)[:, None, None]
    motion = CameraMotion(tracks, np.ones((10, 60), bool), unit=1)
    np.testing.assert_array_equal(motion.between(0, 9), np.eye(3))


def test_few_points_and_points_without_a_common_motion_are_left_alone():
    rng = np.random.default_rng(3)
    matrix, agreeing = estimate(rng.uniform(0, 9, (7, 2)), rng.uniform(0, 9, (7, 2)))
    assert agreeing == 0 and (matrix == np.eye(3)).all()
    tracks = rng.uniform(0, 300, (5, 30, 2))
    motion = CameraMotion(tracks, np.ones((5, 30), bool), unit=1)
    np.testing.assert_array_equal(motion.bring(tracks[0], 0, 4), tracks[0])


def light_of_trails(num_movers, *, compensate):
    """How much the last frame changes by its trails."""
    tracks, visible = (torch.from_numpy(part) for part in scene(num_movers=num_movers))
    black = torch.zeros(3, 240, 320, dtype=torch.uint8)
    pictures = [
        TrackPainter(
            tracks, visible, style=TrackStyle(trail=trail, compensate=compensate, dimming=0.0, size=0.5)
        ).draw(black, 19)
        for trail in (12, 0)
    ]
    return int((pictures[0].int() - pictures[1].int()).abs().sum())


def test_a_camera_that_pans_leaves_no_trails_but_that_of_who_moves():
    as_filmed, background = (light_of_trails(0, compensate=c) for c in (False, True))
    assert background < 0.01 * as_filmed
    assert light_of_trails(1, compensate=True) > 5000
