"""How wrong an estimated homography is: by where it takes the corners of the image."""

import numpy as np
from jaxtyping import Float64


def mean_corner_error(
    estimate: Float64[np.ndarray, "3 3"],
    truth: Float64[np.ndarray, "3 3"],
    corners: Float64[np.ndarray, "C 2"],
) -> float:
    """The mean distance between where two homographies take the corners; infinite if one goes nowhere."""
    distances = np.linalg.norm(warp(truth, corners) - warp(estimate, corners), axis=1)
    # A corner that is sent to the horizon is not found, at any threshold.
    return float(np.mean(distances)) if np.isfinite(distances).all() else float("inf")


def warp(matrix: Float64[np.ndarray, "3 3"], xy: Float64[np.ndarray, "N 2"]) -> Float64[np.ndarray, "N 2"]:
    """Where points (x, y) go, by plain division: those behind the horizon, too, as all benchmarks have it.

    They are in the px that the matrix is from (raster, or indices of pixels), and land in those it leads to.
    What lies on the horizon is not finite.
    """
    moved = np.concatenate([xy, np.ones((len(xy), 1))], axis=1) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return moved[:, :2] / moved[:, 2:]


def corners_of(width: float | int, height: float | int) -> Float64[np.ndarray, "4 2"]:
    """The corners of a rectangle from (0, 0), such as (0, 0) to (width - 1, height - 1) by pixel indices."""
    return np.array([[0, 0], [0, height], [width, 0], [width, height]], np.float64)
