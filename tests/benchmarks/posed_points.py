"""Points seen by two cameras, exact: what solvers and pose benchmarks are tested on."""

import cv2
import numpy as np
import torch

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.posed import PosedPair
from retracker.benchmarks.protocol import Matched

CAMERAS = (
    np.array([[500.0, 0, 320], [0, 520, 240], [0, 0, 1]]),
    np.array([[610.0, 0, 300], [0, 600, 250], [0, 0, 1]]),
)
SIZES = ((480, 640), (500, 600))  # height and width of the images


def motion():
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(np.array([0.05, 0.2, -0.1]))[0]
    pose[:3, 3] = [1.0, 0.1, 0.2]
    return pose


def seen(count=200, *, seed=0, noise_px=0.0, wrong=0.0, far=1.0):
    """Where points are seen (px) in both views; some of them moved by noise, a share of them wrong.

    They lie about six baselines away, or ``far`` times as far.
    """
    random = np.random.default_rng(seed)
    there = far * (random.uniform(-1.5, 1.5, (count, 3)) + [0, 0, 6])
    moved = there @ motion()[:3, :3].T + motion()[:3, 3]
    points0, points1 = (
        (xyz @ camera.T)[:, :2] / xyz[:, 2:] for xyz, camera in zip((there, moved), CAMERAS, strict=True)
    )
    points1 = points1 + noise_px * random.standard_normal(points1.shape)
    lost = random.random(count) < wrong
    points1[lost] = random.uniform([0, 0], [600, 500], (lost.sum(), 2))
    return points0, points1


def pair(name="a/b"):
    """Grey images for those cameras."""
    cameras = [
        FileCamera(intrinsics=torch.from_numpy(camera), size=size, turns=0)
        for camera, size in zip(CAMERAS, SIZES, strict=True)
    ]
    images = [torch.full((3, *size), 128, dtype=torch.uint8) for size in SIZES]
    return PosedPair(
        image0=images[0],
        image1=images[1],
        intrinsics0=cameras[0].intrinsics,
        intrinsics1=cameras[1].intrinsics,
        file_camera0=cameras[0],
        file_camera1=cameras[1],
        pose_0to1=torch.from_numpy(motion()),
        name=name,
    )


def answer(points0, points1):
    found = [torch.from_numpy(np.asarray(xy, np.float64)) for xy in (points0, points1)]
    return Matched(points0=found[0], points1=found[1], confidence=torch.ones(len(found[0])))
