"""PointOdyssey as its authors (pips2) and Track-On evaluate it: whole films of the test split.

The points of frame 0 are followed to the end, thousands of frames later. Both evaluators choose them alike;
they differ in the input's size (pips2: 512 x 896, Track-On: 384 x 512) and in how survival is measured, so
that both are given. Annotations may be of any release. What differs from the official evaluators:

* Where there are fewer points than asked for, pips2 pads with points that always survive; here, as with
  Track-On, there are just fewer.
* Where the file has ``valids`` a point is not evaluated where they are false, beside where the depth is
  impossible.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from retracker.benchmarks.films import (
    FilmBenchmark,
    Resolution,
    as_size,
    as_tensors,
    asked_in_frame_0,
    columns_within,
    curve_within,
    described,
    distances,
    evenly,
    film,
    found_within,
    seen_at,
)
from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import Column, Tracked
from retracker.benchmarks.tracking import AJ_RD, METRIC_SIZE
from retracker.data.datasets.frames import Stored
from retracker.data.datasets.pointodyssey import PointOdyssey
from retracker.data.storage import Storage
from retracker.metrics.redetection import RETURNS, redetection_jaccard
from retracker.metrics.survival import median_trajectory_error, survival
from retracker.metrics.tapvid import THRESHOLDS
from retracker.types import VideoSample

EDGE = 1  # px: a point that is nearer to the border counts as outside
GOOD = 8  # frames that a point must be valid and visible in, at least
JUMP = 512  # px from one frame to the next: a point that moves as far is a fault of the annotation
BEYOND = 32  # px: positions are clamped to the frame and so much around it
LOST = {"pips2": 16, "track_on": 50}  # px at 256 x 256: farther off, a point has not survived

DELTA = Column(heading="delta_avg", metric="delta_avg")
DELTA_VISIBLE = Column(heading="delta_vis", metric="delta_visible")
SURVIVAL_16 = Column(heading="survival 16", metric="survival_16")
SURVIVAL_50 = Column(heading="survival 50", metric="survival_50")
ERROR = Column(heading="MTE px", metric="median_error", percent=False, better="lower")
ERROR_VISIBLE = Column(heading="MTE_vis px", metric="median_error_visible", percent=False, better="lower")


class PointOdysseyBenchmark(FilmBenchmark):
    """The films of one split; errors in px at 256 x 256."""

    columns = (
        *(DELTA, DELTA_VISIBLE, SURVIVAL_16, SURVIVAL_50, ERROR, ERROR_VISIBLE, AJ_RD),
        *columns_within("avg"),
    )
    headline = (DELTA, SURVIVAL_16, ERROR, AJ_RD)
    curves = (
        curve_within("avg", "valid positions found within", "px at 256 x 256"),
        curve_within("visible", "visible points found within", "px at 256 x 256"),
    )
    ranked_by = DELTA.metric

    def __init__(
        self, name: str, root: str, needs: Sequence[str], points: int, resolution: Resolution
    ) -> None:
        self.name, self.points, self.resolution = name, points, as_size(resolution)
        self.title = f"PointOdyssey, {described(self.resolution)}"
        *top, split, _, _ = check_found(root, needs, self.title).split("/")
        self.clips = PointOdyssey(Storage(root, None).where("/".join(top)), split)
        self.protocol = {
            "split": split,
            "sequences": len(self.clips),
            "frames": "all",
            "input": described(self.resolution),
            "resize": "OpenCV, bilinear",
            "queries": "each point where it is in frame 0",
            "points": f"{points} at even steps of those valid and visible in frame 0 and in {GOOD} frames or "
            f"more that never move {JUMP} px or more in a frame",
            "valid": f"as stored, and {EDGE} <= x <= W-{EDGE + 1} and {EDGE} <= y <= H-{EDGE + 1} "
            f"in stored frames",
            "metric_unit": f"x: W/{METRIC_SIZE} px, y: H/{METRIC_SIZE} px",
            "thresholds": list(THRESHOLDS),
            "inequality": "strict",
            "evaluated_frames": "delta: all but frame 0; survival and MTE: all; AJ_RD: from each return on",
            "delta_avg": "over valid positions, visible or not",
            "survival_16": f"until a valid position is more than {LOST['pips2']} px off (pips2)",
            "survival_50": f"until a visible point is more than {LOST['track_on']} px off (Track-On)",
            "MTE": "median over valid frames, mean over points",
            "AJ_RD": RETURNS,
        }

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        """The folder's."""
        return self.clips.clips[index].folder.removeprefix(f"{self.protocol['split']}/")

    def read(self, index: int) -> VideoSample:
        """The whole film, at the size that was asked for, with the points that were chosen."""
        video, native, stored = film(self.clips, index, self.resolution)
        tracks, visible, valid = annotated(self.clips, stored, native, self.points)
        shown = seen_at(tracks, native, video)
        return VideoSample(
            video=video,
            queries=asked_in_frame_0(shown),
            tracks=shown,
            **as_tensors(visible=visible, labelled=valid, located=valid),
            name=f"{self.name}/{self.item_name(index)}",
        )

    def score(self, item: VideoSample, answer: Tracked) -> dict[str, float]:
        """Shares in [0, 1] and errors in px."""
        height, width = item.video.shape[-2:]
        distance = distances(item, answer, (width / METRIC_SIZE, height / METRIC_SIZE))
        valid, visible = item.located.numpy(), item.visible.numpy()
        return {
            **found_within(distance[1:], valid[1:], "avg"),
            **found_within(distance[1:], visible[1:], "visible"),
            SURVIVAL_16.metric: survival(distance, valid, LOST["pips2"]),
            SURVIVAL_50.metric: survival(distance, visible, LOST["track_on"]),
            ERROR.metric: median_trajectory_error(distance, valid),
            ERROR_VISIBLE.metric: median_trajectory_error(distance, visible),
            **redetection_jaccard(distance, answer.visible.numpy(), visible),
        }


Annotation = tuple[Float[np.ndarray, "T N 2"], Bool[np.ndarray, "T N"], Bool[np.ndarray, "T N"]]


def annotated(clips: PointOdyssey, stored: Stored, native: tuple[int, int], points: int) -> Annotation:
    """Positions in stored px, visibility and validity of the points that are evaluated.

    The file holds tens of thousands of points: of those that are not good in frame 0 only that is looked at.
    """
    _, visible, valid = _part(clips, stored, native, (slice(0, 1), slice(None)))
    tracks, visible, valid = _part(clips, stored, native, (slice(None), (visible & valid)[0]))
    steps = np.linalg.norm(tracks[1:] - tracks[:-1], axis=-1)
    good = ((visible & valid).sum(0) >= GOOD) & (steps.max(0, initial=0) < JUMP)
    kept = np.flatnonzero(good)
    kept = kept[evenly(len(kept), points)]
    largest = np.array([native[1] + BEYOND, native[0] + BEYOND], np.float32)
    return tracks[:, kept].clip(-BEYOND, largest), visible[:, kept], valid[:, kept]


def _part(clips: PointOdyssey, stored: Stored, native: tuple[int, int], window: tuple) -> Annotation:
    """Some frames of some points. What is not finite is put at 0, as officially, and is not valid."""
    tracks = stored.tracks[window].astype(np.float32)
    meaning = clips.meaning({name: mask[window] for name, mask in stored.masks.items()})
    finite = np.isfinite(tracks)
    tracks = np.where(finite, tracks, np.float32(0))
    limit = np.array([native[1], native[0]]) - 1 - EDGE
    sound = finite.all(-1) & ((tracks >= EDGE) & (tracks <= limit)).all(-1)
    return tracks, meaning.visible & sound, meaning.labelled & sound
