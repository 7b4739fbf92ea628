"""AJ_RD: how well points are tracked after they come back from an absence, as TAPNext++ defines it."""

import numpy as np
from jaxtyping import Bool, Float, Int

from retracker.metrics.tapvid import THRESHOLDS

ABSENCES = (1, 4, 16, 64, 256)  # frames that a point must have been away, at least
RETURNS = (  # for protocols
    "from each return after the longest absence so far to the end; absences of "
    f"{', '.join(map(str, ABSENCES))} frames or more, averaged where there are any; "
    "also of points first seen after frame 0; ties are hits"
)


def redetection_jaccard(
    distance: Float[np.ndarray, "T N"],
    said_visible: Bool[np.ndarray, "T N"],
    visible: Bool[np.ndarray, "T N"],
) -> dict[str, float]:
    """Jaccard from a point's return to the end of the video, over returns and TAP-Vid's thresholds.

    A return is a visible frame behind a hidden one. It counts if the point was away for longer than before
    any of its earlier returns; a point that is first seen after frame 0 was away until then. A position is
    found at a threshold or below it: here, unlike elsewhere, a tie is a hit.

    Args:
        distance: (T, N) between prediction and truth, px at 256 x 256. Where the truth is hidden it is not
            looked at.
        said_visible: (T, N) the prediction's visibility.
        visible: (T, N) the truth's.

    Returns:
        ``redetection_<d>`` for each of ABSENCES: the mean over the returns from absences of d frames or more,
        and over thresholds; NaN if there is none. ``average_jaccard_redetection``: the mean of those that are
        not NaN; NaN if all are.
    """
    absence = absences(visible)
    counts = absence > _longest_before(absence)
    jaccard = np.mean([_jaccard_to_the_end(distance <= t, said_visible, visible) for t in THRESHOLDS], axis=0)
    metrics = {}
    for least in ABSENCES:
        chosen = jaccard[counts & (absence >= least)]
        metrics[f"redetection_{least}"] = float(chosen.mean()) if chosen.size else float("nan")
    known = [value for value in metrics.values() if not np.isnan(value)]
    metrics["average_jaccard_redetection"] = sum(known) / len(known) if known else float("nan")
    return metrics


def absences(visible: Bool[np.ndarray, "T N"]) -> Int[np.ndarray, "T N"]:
    """For how many frames each point was hidden right before a frame in which it returns; elsewhere 0."""
    frame = np.arange(len(visible))[:, None]
    last_seen = np.maximum.accumulate(np.where(visible, frame, -1), axis=0)
    before = np.concatenate([np.full_like(last_seen[:1], -1), last_seen[:-1]])  # none before frame 0
    return np.where(visible, frame - 1 - before, 0)


def _longest_before(absence: Int[np.ndarray, "T N"]) -> Int[np.ndarray, "T N"]:
    longest = np.maximum.accumulate(absence, axis=0)
    return np.concatenate([np.zeros_like(longest[:1]), longest[:-1]])


def _jaccard_to_the_end(
    within: Bool[np.ndarray, "T N"], said_visible: Bool[np.ndarray, "T N"], visible: Bool[np.ndarray, "T N"]
) -> Float[np.ndarray, "T N"]:
    """From each frame on. A point that is seen, but too far away, is both a miss and a false alarm."""
    right = within & visible & said_visible
    wanted = visible.astype(np.int64) + (said_visible & ~(within & visible))
    right, wanted = (np.cumsum(part[::-1], axis=0)[::-1] for part in (right, wanted))
    return right / np.maximum(wanted, 1)  # never 0 where a point returns
