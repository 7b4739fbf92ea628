"""What benchmarks of long films share: frames of the size that is asked for, truth as it is stored, and
distances as the official evaluators take them, to the bit."""

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Column, Curve, Tracked, Tracker
from retracker.benchmarks.tracking import TrackBenchmark
from retracker.data.datasets.frames import FrameFolders, Stored
from retracker.media.image import read_frame
from retracker.metrics.survival import share_within
from retracker.metrics.tapvid import THRESHOLDS
from retracker.types import Queries, VideoSample

NATIVE = "native"
DRAWN_FRAMES = 240
FRAMES = ("video", "tracks", "visible", "labelled", "located")  # what a clip has one of for each frame
Resolution = int | str | Sequence[int]  # px of a square, "native", or height and width


class FilmBenchmark(TrackBenchmark, ABC):
    """Points of frame 0, followed to the end. In a film without a point nothing is measured."""

    def ask(self, method: Tracker, item: VideoSample) -> Tracked:
        """What the tracker says; of no point it is not asked."""
        if item.tracks.shape[1]:
            return super().ask(method, item)
        return Tracked(tracks=item.tracks, visible=item.visible, confidence=item.visible.float())

    def picture(self, item: VideoSample, answer: Tracked, path: Path) -> Path:
        """An mp4 of some hundred frames, spread over the film: of all there is no room for a second copy."""
        shown = torch.from_numpy(evenly(len(item.video), DRAWN_FRAMES))
        parts = {name: getattr(item, name)[shown] for name in FRAMES}
        return super().picture(replace(item, **parts), answer.map(lambda x: x[shown]), path)


def asked_in_frame_0(tracks: Float[Tensor, "T N 2"]) -> Queries:
    """Each point, where it is in the first frame."""
    return Queries(xy=tracks[0], frame=torch.zeros(tracks.shape[1], dtype=torch.long))


def as_size(resolution: Resolution) -> tuple[int, int] | None:
    """Height and width, or None for the frames' own. Raises ValueError for anything else."""
    if resolution == NATIVE:
        return None
    sides = (resolution,) * 2 if isinstance(resolution, int) else tuple(resolution)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(
            f"resolution: expected {NATIVE}, [height, width] or a square's side in px, got {resolution!r}"
        )
    return sides


def described(size: tuple[int, int] | None) -> str:
    """A size in words, for titles and protocols."""
    return NATIVE if size is None else f"{size[0]} x {size[1]}"


def film(
    clips: FrameFolders, index: int, size: tuple[int, int] | None
) -> tuple[UInt8[Tensor, "T 3 H W"], tuple[int, int], Stored]:
    """The frames of a recording, read and resized one by one, their own height and width, and its labels."""
    paths, stored = clips.unread(index)
    if not paths:
        raise ValueError(f"{clips.storage.where(clips.clips[index].images)}: has no frame")
    native = clips.storage.array(paths[0], read_frame, "rgb").shape[:2]
    prepare = None if size in (None, native) else partial(resized, size=size)
    return clips.storage.video(paths, prepare), native, stored


def resized(frame: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """A frame at (height, width), by OpenCV's bilinear filter as the official evaluators do it."""
    return cv2.resize(frame, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def seen_at(
    tracks: Float[np.ndarray, "T N 2"], native: tuple[int, int], video: UInt8[Tensor, "T 3 H W"]
) -> Float[Tensor, "T N 2"]:
    """Tracks in px of the frames' own size, in px of the video that is shown."""
    height, width = video.shape[-2:]
    ratio = torch.tensor([width / native[1], height / native[0]])
    return torch.from_numpy(tracks.astype(np.float32)) * ratio


def evenly(num_points: int, count: int) -> Int[np.ndarray, " n"]:
    """``count`` of the points (or all) at even steps, the first and the last among them."""
    return np.linspace(0, num_points - 1, min(num_points, count)).astype(np.int64)  # rounds down


def distances(item: VideoSample, answer: Tracked, unit: tuple[float, float]) -> Float[np.ndarray, "T N"]:
    """From prediction to truth, x and y measured in ``unit`` px; infinite where the truth has no position.

    In single precision and in the official order of operations: ties at a threshold fall as they do there.
    """
    scale = torch.tensor(unit)
    apart = torch.linalg.vector_norm(answer.tracks.float() / scale - item.tracks / scale, dim=-1)
    return apart.masked_fill(~item.located, torch.inf).numpy()


def found_within(
    distance: Float[np.ndarray, "T N"], counted: Bool[np.ndarray, "T N"], which: str
) -> dict[str, float]:
    """``delta_<which>``, and the shares at TAP-Vid's thresholds that it is the mean of."""
    shares = {name_within(t, which): share_within(distance, counted, t) for t in THRESHOLDS}
    return {f"delta_{which}": sum(shares.values()) / len(shares), **shares}


def columns_within(which: str) -> tuple[Column, ...]:
    """The columns of those shares."""
    return tuple(Column(heading=f"<{t} px", metric=name_within(t, which)) for t in THRESHOLDS)


def curve_within(which: str, title: str, unit: str) -> Curve:
    """Their curve."""
    return Curve(
        title=title,
        thresholds=THRESHOLDS,
        unit=unit,
        metrics=tuple(name_within(t, which) for t in THRESHOLDS),
    )


def name_within(threshold: int, which: str) -> str:
    """What one of them is called."""
    return f"pts_within_{threshold}_{which}"


def as_tensors(**masks: Bool[np.ndarray, "T N"]) -> Mapping[str, Bool[Tensor, "T N"]]:
    """Masks by name, for a clip."""
    return {name: torch.from_numpy(np.ascontiguousarray(mask)) for name, mask in masks.items()}
