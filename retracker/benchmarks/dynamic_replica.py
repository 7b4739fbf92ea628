"""Dynamic Replica as CoTracker evaluates it: the first 300 frames of each sequence of the valid split.

The tracker sees the frames as they are stored, and is asked for every point where it is in frame 0, also if
it is hidden there. What differs from the official evaluator:

* A point that is outside the frame in frame 0 is asked for on the border; the official one asks outside.
* It draws 256 points anew in each run, with a seed that it does not fix; ``choose: even`` takes every n-th
  point, ``choose: random`` is one such draw. As there, points that are seldom seen are left out afterwards.
* In a video where nothing is ever hidden, delta on hidden points is undefined, and the video is left out of
  its mean and named; the official mean counts such a video as 0.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from retracker.benchmarks.films import (
    FilmBenchmark,
    as_tensors,
    asked_in_frame_0,
    columns_within,
    curve_within,
    distances,
    evenly,
    found_within,
)
from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import Column, Tracked
from retracker.data.datasets.dynamic_replica import DynamicReplica
from retracker.data.storage import Storage
from retracker.metrics.survival import survival
from retracker.metrics.tapvid import THRESHOLDS
from retracker.types import VideoSample

CAMERA = "left"
SELDOM = 10  # frames: a point that is visible in no more is left out
LOST = 50  # in units of the metric: as far off, a point has not survived
CHOICES = ("even", "random")
GROUPS = {"visible": "visible points", "occluded": "hidden points", "all": "all points"}

VISIBLE = Column(heading="delta_vis", metric="delta_visible")
OCCLUDED = Column(heading="delta_occ", metric="delta_occluded")
ALL_POINTS = Column(heading="delta_all", metric="delta_all")
SURVIVAL = Column(heading="survival", metric="survival_50")


class DynamicReplicaBenchmark(FilmBenchmark):
    """The sequences of one split whose folders are there. Errors are measured in 255ths of width - 1 and of
    height - 1, in the frames after the one in which the point is first visible."""

    title = "Dynamic Replica"
    columns = (VISIBLE, OCCLUDED, ALL_POINTS, SURVIVAL, *columns_within("visible"))
    headline = (VISIBLE, OCCLUDED, SURVIVAL)
    curves = tuple(
        curve_within(which, f"{points} found within", "255ths of the frame")
        for which, points in GROUPS.items()
    )
    ranked_by = VISIBLE.metric

    def __init__(
        self, name: str, root: str, needs: Sequence[str], frames: int, points: int, choose: str
    ) -> None:
        if choose not in CHOICES:
            raise ValueError(f"choose: expected {' or '.join(CHOICES)}, got {choose!r}")
        self.name, self.frames, self.points, self.choose = name, frames, points, choose
        *top, split, _ = check_found(root, needs, self.title).split("/")
        self.clips = DynamicReplica(Storage(root, None).where("/".join(top)), split, CAMERA)
        self.protocol = {
            "split": split,
            "camera": CAMERA,
            "sequences": f"{len(self.clips)} of {self.clips.num_listed}",
            "frames": f"the first {frames}",
            "input": "native",
            "queries": "each point where it is in frame 0",
            "queries_outside": "asked for on the border (official: outside)",
            "points": f"{points}, choice: {choose} (official: random, seed not fixed); of those, the ones "
            f"visible in more than {SELDOM} frames",
            "visible": "as stored, and 0 <= x <= W-1 and 0 <= y <= H-1",
            "metric_unit": "x: (W-1)/255 px, y: (H-1)/255 px",
            "thresholds": list(THRESHOLDS),
            "inequality": "strict",
            "evaluated_frames": "after the first in which the point is visible",
            "survival": f"mean over frames and points until a visible point is more than {LOST} off",
            "undefined": "delta of a group without frames is undefined (official: 0)",
        }

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        """As the listing has it."""
        return self.clips.films[index].name

    def read(self, index: int) -> VideoSample:
        """The first frames, with the points that were chosen."""
        frames = range(min(self.frames, self.clips.num_frames(index)))
        video, known = self.clips.stored(index, frames)
        known = known[:, chosen(known.shape[1], self.points, self.choose)]  # T N 3
        located = np.isfinite(known[..., :2]).all(-1)
        tracks = np.where(located[..., None], known[..., :2], 0).astype(np.float32)
        visible = (known[..., 2] > 0.5) & located & inside(tracks, *video.shape[-2:])
        often = visible.sum(0) > SELDOM
        tracks = torch.from_numpy(tracks[:, often])
        masks = {"visible": visible, "located": located, "labelled": np.ones_like(located)}
        return VideoSample(
            video=video,
            queries=asked_in_frame_0(tracks),
            tracks=tracks,
            **as_tensors(**{label: mask[:, often] for label, mask in masks.items()}),
            name=f"{self.name}/{self.item_name(index)}",
        )

    def score(self, item: VideoSample, answer: Tracked) -> dict[str, float]:
        """Shares in [0, 1]."""
        height, width = item.video.shape[-2:]
        distance = distances(item, answer, ((width - 1) / 255, (height - 1) / 255))
        visible = item.visible.numpy()
        begun = np.arange(len(visible))[:, None] > visible.argmax(0)
        scores = {SURVIVAL.metric: survival(distance, visible, LOST)}
        for which, counted in (("visible", visible), ("occluded", ~visible), ("all", np.ones_like(visible))):
            scores |= found_within(distance, counted & begun, which)
        return scores


def chosen(num_points: int, count: int, choose: str) -> Int[np.ndarray, " n"]:
    """Which points are looked at."""
    if choose == "even":
        return evenly(num_points, count)
    return torch.randperm(num_points, generator=torch.Generator().manual_seed(0))[:count].numpy()


def inside(tracks: Float[np.ndarray, "T N 2"], height: int, width: int) -> Bool[np.ndarray, "T N"]:
    """Whether the official evaluator takes a position to be within the frame."""
    return ((tracks >= 0) & (tracks <= np.array([width - 1, height - 1]))).all(-1)
