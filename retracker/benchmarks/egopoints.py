"""EgoPoints as its authors evaluate it: points in kitchens, followed by hand, out of view and back.

Delta is measured where a position was annotated, at two sets of thresholds; beside it, whether the tracker
takes a point to be in the frame where it is (or is hidden) there, and out of it where it is not; and how many
positions it finds again after the last time that the point was out of view. That last metric is taken to the
letter: the tracker's own positions count from the last frame in which it rightly took the point to be out of
view, their number is divided by that of the positions after the point was last out of view, so that it may
exceed 1. What differs from the official evaluation:

* A metric without anything to measure it on is undefined, and the video is left out of its mean and named;
  officially so too for the three metrics of views, but a delta would count as 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

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
    film,
    found_within,
    seen_at,
)
from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import Column, Tracked
from retracker.benchmarks.tracking import METRIC_SIZE
from retracker.data.datasets.egopoints import EgoPoints
from retracker.data.datasets.frames import told
from retracker.data.storage import Storage
from retracker.metrics.survival import median_trajectory_error, share_within
from retracker.metrics.tapvid import THRESHOLDS
from retracker.types import VideoSample

STAR = (8, 16, 24)  # px: the thresholds of delta* and of what is found again
VIEW = (384, 512)  # px, height and width: of the frame in which what is found again is measured

DELTA = Column(heading="delta_avg", metric="delta_avg")
DELTA_STAR = Column(heading="delta*", metric="delta_star")
FOUND_AGAIN = Column(heading="ReID delta", metric="delta_reidentified")
IN_VIEW = Column(heading="IVA", metric="in_view_accuracy")
OUT_OF_VIEW = Column(heading="OOVA", metric="out_of_view_accuracy")
OA = Column(heading="OA", metric="occlusion_accuracy")
ERROR = Column(heading="MTE px", metric="median_error", percent=False, better="lower")


@dataclass(frozen=True, kw_only=True)
class EgoClip(VideoSample):
    """A film in which ``located`` is where a position was annotated, ``labelled`` where visibility was.

    Where a point is out of view and its position unknown, its track lies beside the frame.
    """

    out_of_view: Bool[Tensor, "*B T N"]
    occluded: Bool[Tensor, "*B T N"]


class EgoPointsBenchmark(FilmBenchmark):
    """All films below a folder; errors in px at 256 x 256, but of what is found again at 384 x 512."""

    columns = (DELTA, DELTA_STAR, FOUND_AGAIN, IN_VIEW, OUT_OF_VIEW, OA, ERROR, *columns_within("avg"))
    headline = (DELTA, DELTA_STAR, FOUND_AGAIN, OA)
    curves = (curve_within("avg", "annotated positions found within", "px at 256 x 256"),)
    ranked_by = DELTA.metric

    def __init__(self, name: str, root: str, needs: Sequence[str], resolution: Resolution) -> None:
        self.name, self.resolution = name, as_size(resolution)
        self.title = f"EgoPoints, {described(self.resolution)}"
        *top, _, _ = check_found(root, needs, self.title).split("/")
        self.clips = EgoPoints(Storage(root, None).where("/".join(top)))
        self.protocol = {
            "sequences": len(self.clips),
            "frames": "all",
            "input": described(self.resolution),
            "resize": "OpenCV, bilinear",
            "queries": "each point where it is in frame 0",
            "points": "all",
            "metric_unit": f"x: W/{METRIC_SIZE} px, y: H/{METRIC_SIZE} px",
            "thresholds": list(THRESHOLDS),
            "thresholds_star": list(STAR),
            "inequality": "strict",
            "evaluated_frames": "all but frame 0; OA and MTE: all",
            "delta_avg": "over annotated positions",
            "IVA": "annotated or occluded points that are taken to be in 0 <= x <= W, 0 <= y <= H",
            "OOVA": "points out of view that are taken to be outside of it",
            "ReID": f"positions after the point was last out of view, px at {described(VIEW)}; the tracker's "
            "count from where it last rightly took the point to be out of view",
            "OA": "where visibility was annotated",
            "MTE": "median over annotated frames, mean over points",
            "undefined": "a metric without anything to measure it on is undefined (official delta: 0)",
        }

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        """The folder's."""
        return self.clips.clips[index].folder

    def read(self, index: int) -> EgoClip:
        """The whole film, at the size that was asked for, with all points."""
        video, native, stored = film(self.clips, index, self.resolution)
        masks = {name: told(mask) for name, mask in stored.masks.items()}
        finite = np.isfinite(stored.tracks).all(-1)
        located = masks["valids"] & finite
        tracks = seen_at(np.where(finite[..., None], stored.tracks, 0), native, video)
        away = torch.from_numpy(masks["out_of_view"] & ~located)
        beside = tracks.new_tensor([-video.shape[-1], -video.shape[-2]])
        return EgoClip(
            video=video,
            queries=asked_in_frame_0(tracks),
            tracks=torch.where(away[..., None], beside, tracks),
            **as_tensors(
                visible=masks["visibs"],
                labelled=masks["vis_valids"],
                located=located,
                out_of_view=masks["out_of_view"],
                occluded=masks["occluded"],
            ),
            name=f"{self.name}/{self.item_name(index)}",
        )

    def score(self, item: EgoClip, answer: Tracked) -> dict[str, float]:
        """Shares in [0, 1] and an error in px."""
        height, width = item.video.shape[-2:]
        distance = distances(item, answer, (width / METRIC_SIZE, height / METRIC_SIZE))
        valid, known = item.located.numpy(), item.labelled.numpy()
        star = [share_within(distance[1:], valid[1:], t) for t in STAR]
        agreed = (answer.visible == item.visible).numpy()
        return {
            **found_within(distance[1:], valid[1:], "avg"),
            DELTA_STAR.metric: sum(star) / len(star),
            **views(item, answer),
            OA.metric: share(agreed & known, known),
            ERROR.metric: median_trajectory_error(distance, valid),
        }


def views(item: EgoClip, answer: Tracked) -> dict[str, float]:
    """The three metrics of views, in [0, 1]."""
    height, width = item.video.shape[-2:]
    valid, outside = item.located.numpy(), item.out_of_view.numpy()
    present = valid[1:].astype(int) + item.occluded.numpy()[1:]  # 2 where both were annotated, as officially
    x, y = answer.tracks.numpy().transpose(2, 0, 1)
    said_in = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)  # T N
    distance = distances(item, answer, (width / VIEW[1], height / VIEW[0]))
    again = _found_again(valid, outside, outside & ~said_in, distance) if outside[1:].any() else float("nan")
    return {
        FOUND_AGAIN.metric: again,
        IN_VIEW.metric: share(present * said_in[1:], present),
        OUT_OF_VIEW.metric: share((outside & ~said_in)[1:], outside[1:]),
    }


def _found_again(
    valid: Bool[np.ndarray, "T N"],
    outside: Bool[np.ndarray, "T N"],
    rightly_outside: Bool[np.ndarray, "T N"],
    distance: Float[np.ndarray, "T N"],
) -> float:
    wanted = (valid & (_frames_since_last(outside) > 0))[1:]
    followed = _frames_since_last(rightly_outside & (np.arange(len(valid)) > 0)[:, None]) >= 0
    shares = [share((valid & followed & (distance < t))[1:], wanted) for t in STAR]
    return sum(shares) / len(shares)


def _frames_since_last(mask: Bool[np.ndarray, "T N"]) -> np.ndarray:
    """How many frames ago each point's mask was last set in all of the film; negative before, and without."""
    length = len(mask)
    last = np.where(mask.any(0), length - 1 - mask[::-1].argmax(0), 2 * length)
    return np.arange(length)[:, None] - last


def share(hits: np.ndarray, total: np.ndarray) -> float:
    """NaN of nothing."""
    count = int(total.sum())
    return int(hits.sum()) / count if count else float("nan")
