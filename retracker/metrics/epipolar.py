"""How far correspondences are from a known epipolar geometry, in normalised image coordinates."""

import numpy as np
from jaxtyping import Float


def essential_matrix(pose_0to1: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "3 3"]:
    """The matrix E with x1^T E x0 = 0 for what both views see: [t]_x R."""
    x, y, z = pose_0to1[:3, 3]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return cross @ pose_0to1[:3, :3]


def normalised(
    xy: Float[np.ndarray, "N 2"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "N 2"]:
    """Pixels as coordinates of the image plane at distance 1; without skew, as every benchmark has it."""
    return (xy - intrinsics[[0, 1], [2, 2]]) / intrinsics[[0, 1], [0, 1]]


def squared_symmetric_distance(
    xy0: Float[np.ndarray, "N 2"], xy1: Float[np.ndarray, "N 2"], essential: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, " N"]:
    """The sum of the squared distances to both epipolar lines (SuperGlue, LoFTR); NaN at an epipole.

    Points are normalised; the length of the translation does not matter.
    """
    product, square0, square1 = _parts(xy0, xy1, essential)
    with np.errstate(divide="ignore", invalid="ignore"):
        return product**2 * (1 / square0 + 1 / square1)


def mean_symmetric_distance(
    xy0: Float[np.ndarray, "N 2"], xy1: Float[np.ndarray, "N 2"], essential: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, " N"]:
    """The mean of the distances to both epipolar lines, not squared (glue-factory); NaN at an epipole."""
    product, square0, square1 = _parts(xy0, xy1, essential)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(product) * (1 / np.sqrt(square0) + 1 / np.sqrt(square1)) / 2


def precision(distances: Float[np.ndarray, " N"], threshold: float) -> float:
    """The share of matches closer than the threshold; 0 where there is no match, as all protocols count."""
    return float(np.mean(distances < threshold)) if len(distances) else 0.0


def _parts(xy0: np.ndarray, xy1: np.ndarray, essential: np.ndarray) -> tuple[np.ndarray, ...]:
    """x1^T E x0, and the squared lengths of the normals of the lines in view 1 and view 0."""
    point0, point1 = (np.concatenate([xy, np.ones_like(xy[:, :1])], -1) for xy in (xy0, xy1))
    line1, line0 = point0 @ essential.T, point1 @ essential
    return (point1 * line1).sum(-1), (line1[:, :2] ** 2).sum(-1), (line0[:, :2] ** 2).sum(-1)
