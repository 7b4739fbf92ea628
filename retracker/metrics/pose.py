"""How far an estimated relative pose is from the true one, and how many of many are close."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

BIN = 5  # degrees: the steps of the approximate area


def pose_auc(
    errors_deg: Sequence[float | int] | np.ndarray, thresholds: Sequence[float | int] = (5, 10, 20)
) -> list[float]:
    """The exact area under recall over error, up to each threshold and divided by it: in [0, 1].

    The curve of SuperGlue and LoFTR: straight lines from (0, 0) through (k-th smallest error, k / n), and
    level behind the last error below the threshold. A failure is an infinite error, and counts in n.
    Raises ValueError if there is no error, one is NaN or negative, or a threshold is not positive.
    """
    errors = np.sort(_checked(errors_deg))
    if not all(threshold > 0 for threshold in thresholds):
        raise ValueError(f"thresholds: expected positive degrees, got {list(thresholds)}")
    error = np.concatenate([[0.0], errors])
    recall = np.arange(len(error)) / len(errors)
    return [_area_below(error, recall, threshold) for threshold in thresholds]


def approximate_pose_auc(
    errors_deg: Sequence[float | int] | np.ndarray, thresholds: Sequence[int] = (5, 10, 20)
) -> list[float]:
    """The area as OANet, PDC-Net and RoMa's "mAP" have it: the mean of the shares below 5, 10, ... degrees.

    It is larger than ``pose_auc`` for the same errors: never compare one with the other.
    Raises ValueError as that does, and for a threshold that is no multiple of 5.
    """
    errors = _checked(errors_deg)
    if not all(threshold > 0 and threshold % BIN == 0 for threshold in thresholds):
        raise ValueError(f"thresholds: expected multiples of {BIN} degrees, got {list(thresholds)}")
    return [
        float(np.mean([share_below(errors, edge) for edge in range(BIN, threshold + 1, BIN)]))
        for threshold in thresholds
    ]


def share_below(errors_deg: Sequence[float | int] | np.ndarray, threshold: float | int) -> float:
    """The share of errors that are less than a threshold."""
    return float(np.mean(_checked(errors_deg) < threshold))


def rotation_error(found: Float[np.ndarray, "3 3"], true: Float[np.ndarray, "3 3"]) -> float:
    """The angle in degrees of the rotation between two."""
    cosine = (np.trace(found.T @ true) - 1) / 2
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))


def translation_error(found: Float[np.ndarray, "3"], true: Float[np.ndarray, "3"]) -> float:
    """The angle in degrees between the lines of two translations: an essential matrix has no sign, no length.

    Raises ValueError if one of them is zero: it has no direction.
    """
    lengths = np.linalg.norm(found) * np.linalg.norm(true)
    if not lengths > 0:
        raise ValueError(f"a translation of length zero has no direction: {found.tolist()}, {true.tolist()}")
    angle = np.rad2deg(np.arccos(np.clip(found @ true / lengths, -1, 1)))
    return float(min(angle, 180 - angle))


def _area_below(error: np.ndarray, recall: np.ndarray, threshold: float | int) -> float:
    below = np.searchsorted(error, threshold, side="left")  # an error of exactly the threshold is too large
    x = np.append(error[:below], threshold)
    y = np.append(recall[:below], recall[below - 1])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / threshold)


def _checked(errors_deg: Sequence[float | int] | np.ndarray) -> np.ndarray:
    errors = np.asarray(errors_deg, np.float64)
    if errors.ndim != 1 or not len(errors):
        raise ValueError(f"expected one pose error for each pair, got an array of shape {errors.shape}")
    if np.isnan(errors).any() or (errors < 0).any():
        raise ValueError("a pose error is NaN or negative; a failure is infinite")
    return errors
