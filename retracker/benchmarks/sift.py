"""Matching with OpenCV's SIFT, or RootSIFT (Arandjelovic and Zisserman, CVPR 2012)."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.baselines import grey
from retracker.benchmarks.neighbours import matched, mutual_neighbours
from retracker.benchmarks.protocol import Matched

HALF = 0.5  # OpenCV calls the centre of the upper-left pixel (0, 0); we call it (0.5, 0.5)


def sift(
    image0: UInt8[Tensor, "3 H0 W0"],
    image1: UInt8[Tensor, "3 H1 W1"],
    max_keypoints: int,
    ratio: float | int,
    root: bool,
) -> Matched:
    """Mutual nearest neighbours among the strongest keypoints that also pass Lowe's ratio test.

    ``root`` compares square roots of L1-normalised descriptors (RootSIFT). The confidence is how much nearer
    the best neighbour is than the second best, in [0, 1].
    """
    (points0, found0), (points1, found1) = (_detect(image, max_keypoints, root) for image in (image0, image1))
    return matched(points0, points1, mutual_neighbours(torch.cdist(found0, found1), ratio))


def _detect(
    image: UInt8[Tensor, "3 H W"], max_keypoints: int, root: bool
) -> tuple[Float[Tensor, "K 2"], Float[Tensor, "K 128"]]:
    """Keypoints (raster px) and their descriptors, the strongest first."""
    # Without the precise upscaling, OpenCV's keypoints lie a quarter of a pixel too far right and down.
    detector = cv2.SIFT_create(nfeatures=max_keypoints, enable_precise_upscale=True)
    keypoints, descriptors = detector.detectAndCompute(grey(image), None)
    if not keypoints:
        return torch.zeros(0, 2), torch.zeros(0, 128)
    points = torch.tensor([keypoint.pt for keypoint in keypoints]) + HALF
    strength = np.array([keypoint.response for keypoint in keypoints])
    order = np.argsort(-strength, kind="stable")[:max_keypoints]  # OpenCV keeps more where some are equal
    found = torch.from_numpy(descriptors[order])
    if root:
        found = (found / found.sum(dim=1, keepdim=True).clamp(min=1e-12)).sqrt()
    return points[order], found
