"""Whether matches are right: how far the second point of each lies from where the first one goes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from retracker.metrics.homography import warp


def transfer_errors(
    points0: Float64[np.ndarray, "M 2"],
    points1: Float64[np.ndarray, "M 2"],
    truth: Float64[np.ndarray, "3 3"],
) -> Float64[np.ndarray, " M"]:
    """The distance in image 1 of each match from the truth."""
    return np.sqrt(np.square(points1 - warp(truth, points0)).sum(axis=1))


def matching_accuracy(errors: Float64[np.ndarray, " M"], thresholds: Sequence[float | int]) -> list[float]:
    """The share of a pair's matches that are within each threshold: 0 where nothing was matched.

    Its mean over pairs is the mean matching accuracy (MMA) of D2-Net.
    """
    return [float(np.mean(errors <= t)) if len(errors) else 0.0 for t in thresholds]
