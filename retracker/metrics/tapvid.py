"""The TAP-Vid metrics: a drop-in for the benchmark's own function, right for batches too."""

from collections.abc import Mapping

import numpy as np

THRESHOLDS = (1, 2, 4, 8, 16)  # px at 256 x 256
QUERY_MODES = ("first", "strided")


def compute_tapvid_metrics(
    query_points: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks: np.ndarray,
    query_mode: str,
    get_trackwise_metrics: bool = False,
) -> Mapping[str, np.ndarray]:
    """Score predicted tracks; argument order, shapes and result keys are those of the official function.

    Args:
        query_points: (B, N, 3) queries (t, y, x).
        gt_occluded: (B, N, T) True where the point is hidden.
        gt_tracks: (B, N, T, 2) true positions (x, y) in raster pixels of a 256 x 256 frame.
        pred_occluded: (B, N, T) True where the point is said to be hidden.
        pred_tracks: (B, N, T, 2) predicted positions, in the same pixels.
        query_mode: "first" counts frames after the query frame, "strided" all frames but the query frame.
        get_trackwise_metrics: reduce over time only.

    Returns:
        One array of shape (B,), or (B, N) track-wise, for each of occlusion_accuracy,
        pts_within_{1,2,4,8,16}, jaccard_{1,2,4,8,16}, average_jaccard and average_pts_within_thresh.
        Where nothing counts the value is NaN.

    Raises:
        ValueError: shapes disagree, a query frame lies outside the video, occlusion is not binary, the mode
            is unknown, or a position that counts is not finite.
    """
    _check(query_points, gt_occluded, gt_tracks, pred_occluded, pred_tracks)
    visible = ~_binary(gt_occluded, "gt_occluded")
    said_visible = ~_binary(pred_occluded, "pred_occluded")
    counts = _counted_frames(query_points, gt_tracks.shape[2], query_mode)
    _check_finite(gt_tracks, pred_tracks, counts & visible)
    axes = (2,) if get_trackwise_metrics else (1, 2)

    def share(hits: np.ndarray, total: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN by the protocol
            return hits.sum(axes) / total.sum(axes)

    metrics = {"occlusion_accuracy": share((said_visible == visible) & counts, counts)}
    squared = np.square(pred_tracks - gt_tracks).sum(-1)
    for threshold in THRESHOLDS:
        within = squared < threshold**2
        false_positive = said_visible & ~(visible & within) & counts
        metrics[f"pts_within_{threshold}"] = share(within & visible & counts, visible & counts)
        # Not a mask: a visible point found too far away counts as a miss and as a false positive.
        wanted = (visible & counts).astype(np.int64) + false_positive
        metrics[f"jaccard_{threshold}"] = share(within & visible & said_visible & counts, wanted)
    metrics["average_jaccard"] = _mean([metrics[f"jaccard_{t}"] for t in THRESHOLDS])
    metrics["average_pts_within_thresh"] = _mean([metrics[f"pts_within_{t}"] for t in THRESHOLDS])
    return metrics


def _mean(values: list[np.ndarray]) -> np.ndarray:
    return np.mean(np.stack(values, axis=-1), axis=-1)


def _counted_frames(query_points: np.ndarray, num_frames: int, query_mode: str) -> np.ndarray:
    """Which (B, N, T) entries are scored; the query frame never is."""
    if query_mode not in QUERY_MODES:
        raise ValueError(f"unknown query mode {query_mode!r}: expected one of {', '.join(QUERY_MODES)}")
    born = np.round(query_points[..., 0]).astype(np.int64)[..., None]
    if born.size and not (0 <= born.min() and born.max() < num_frames):
        raise ValueError(f"query frames {born.min()}..{born.max()} do not fit a video of {num_frames} frames")
    frame = np.arange(num_frames)
    return frame > born if query_mode == "first" else frame != born


def _check(query_points, gt_occluded, gt_tracks, pred_occluded, pred_tracks) -> None:
    if gt_tracks.ndim != 4 or gt_tracks.shape[-1] != 2:
        raise ValueError(f"gt_tracks: expected shape (B, N, T, 2), got {gt_tracks.shape}")
    batch_points_frames = gt_tracks.shape[:3]
    expected = {
        "query_points": (query_points, (*batch_points_frames[:2], 3)),
        "gt_occluded": (gt_occluded, batch_points_frames),
        "pred_occluded": (pred_occluded, batch_points_frames),
        "pred_tracks": (pred_tracks, gt_tracks.shape),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name}: expected shape {shape} to go with gt_tracks, got {array.shape}")
    if not np.isfinite(query_points).all():
        raise ValueError("query_points: expected finite (t, y, x), got NaN or infinity")


def _binary(occluded: np.ndarray, name: str) -> np.ndarray:
    if occluded.dtype == bool:
        return occluded
    if not np.isin(occluded, (0, 1)).all():
        raise ValueError(
            f"{name}: expected True or False, got values like {occluded.flat[0]!r}; threshold first"
        )
    return occluded.astype(bool)


def _check_finite(gt_tracks: np.ndarray, pred_tracks: np.ndarray, needed: np.ndarray) -> None:
    for name, tracks in (("gt_tracks", gt_tracks), ("pred_tracks", pred_tracks)):
        bad = needed & ~np.isfinite(tracks).all(-1)
        if bad.any():
            clip, point, frame = np.argwhere(bad)[0]
            raise ValueError(f"{name}: position of clip {clip}, point {point}, frame {frame} is not finite")
