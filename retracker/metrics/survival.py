"""What is measured over long videos: how many points are found, how long they are kept, how far off."""

import numpy as np
from jaxtyping import Bool, Float


def share_within(
    distance: Float[np.ndarray, "T N"], counted: Bool[np.ndarray, "T N"], threshold: float | int
) -> float:
    """The share of the positions that count that are closer to the truth than ``threshold`` (strictly).

    NaN if none counts. (The official functions add 1e-6 to the number that count: then it is 0 instead, and
    elsewhere the same to eight digits.)
    """
    count = int(counted.sum())
    return int(((distance < threshold) & counted).sum()) / count if count else float("nan")


def survival(
    distance: Float[np.ndarray, "T N"], counted: Bool[np.ndarray, "T N"], threshold: float | int
) -> float:
    """The share of all frames, over all points, before the point is first farther off than ``threshold``
    where it counts. NaN without points."""
    lost = np.logical_or.accumulate((distance > threshold) & counted, axis=0)
    return float((~lost).mean()) if lost.size else float("nan")


def median_trajectory_error(distance: Float[np.ndarray, "T N"], counted: Bool[np.ndarray, "T N"]) -> float:
    """The median error of each point over the frames that count, averaged over the points that have one.

    NaN if none has. (Officially a single point without such a frame makes all of it NaN.)
    """
    medians = [float(np.median(distance[counted[:, n], n])) for n in np.flatnonzero(counted.any(0))]
    return sum(medians) / len(medians) if medians else float("nan")
