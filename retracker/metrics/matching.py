"""Whether matches are right: how far the second point of each lies from where the first one goes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from retracker.metrics.homography import warp


def transfer_errors(
    points0: Float64[np.ndarray, "M 2"],
    points1: Float64[np.ndarray, "M 2"],
    truth: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, " M"]:
    """How far from the truth each match is in image 1, px.

    ``truth`` takes px of image 0 to px of image 1; points are in whichever px it is of, raster or indices.
    """
    return np.sqrt(np.square(points1 - warp(truth, points0)).sum(axis=1))


def matching_accuracy(errors: Float64[np.ndarray, " M"], thresholds: Sequence[float | int]) -> list[float]:
    """The share of a pair's matches that are within each threshold: 0 where nothing was matched.

    Its mean over pairs is the mean matching accuracy (MMA) of D2-Net.
    """
    return [float(np.mean(errors <= t)) if len(errors) else 0.0 for t in thresholds]


def matching_score(
    points: tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, "M 2"]],
    keypoints: tuple[Float64[np.ndarray, "K0 2"], Float64[np.ndarray, "K1 2"]],
    truth: Float64[np.ndarray, "3 3"],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    thresholds: Sequence[float | int],
) -> list[float]:
    """Of the keypoints of the shared view the share that is matched right, within each threshold.

    The matching score of SuperPoint (DeTone, Malisiewicz and Rabinovich, CVPR workshops 2018),

        M = (R0 / S0 + R1 / S1) / 2

    where S0 is how many keypoints of image 0 the truth takes into image 1, and R0 how many of those have a
    match within the threshold (px of image 1) of where it takes them; S1 and R1 likewise with the inverse,
    in px of image 0. A side without keypoints in the shared view counts 0. ``points`` are the keypoints that
    were matched, each at most once; ``sizes`` are (height, width); all else is in raster px.
    """
    back = np.linalg.inv(truth)
    sides = (
        (points[0], points[1], keypoints[0], truth, sizes[1]),
        (points[1], points[0], keypoints[1], back, sizes[0]),
    )
    shares = [_recalled(*side, thresholds) for side in sides]
    return [float(share) for share in np.mean(shares, axis=0)]


def _recalled(
    points: Float64[np.ndarray, "M 2"],
    partners: Float64[np.ndarray, "M 2"],
    keypoints: Float64[np.ndarray, "K 2"],
    truth: Float64[np.ndarray, "3 3"],
    size: tuple[int, int],
    thresholds: Sequence[float | int],
) -> list[float]:
    """R / S of one side: ``truth`` goes from it to the other, whose (height, width) is ``size``."""
    shared = int(_lands_inside(keypoints, truth, size).sum())
    errors = transfer_errors(points, partners, truth)[_lands_inside(points, truth, size)]
    return [int((errors <= t).sum()) / shared if shared else 0.0 for t in thresholds]


def _lands_inside(
    xy: Float64[np.ndarray, "N 2"], truth: Float64[np.ndarray, "3 3"], size: tuple[int, int]
) -> Bool[np.ndarray, " N"]:
    """Which points the truth takes into an image of (height, width), and not behind its horizon."""
    there, ahead = warp(truth, xy), xy @ truth[2, :2] + truth[2, 2] > 0
    return ahead & (there >= 0).all(axis=1) & (there <= [size[1], size[0]]).all(axis=1)
