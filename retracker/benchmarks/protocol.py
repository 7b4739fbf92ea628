"""What a benchmark asks of a tracker, and how one clip is scored."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.geometry.coords import rescale
from retracker.metrics.tapvid import compute_tapvid_metrics
from retracker.types import TensorStruct, VideoSample

METRIC_SIZE = 256  # px: TAP-Vid measures in a 256 x 256 raster, whatever size the tracker saw


@dataclass(frozen=True, kw_only=True)
class Tracked(TensorStruct):
    """One clip's answer."""

    tracks: Float[Tensor, "T N 2"]  # px
    visible: Bool[Tensor, "T N"]
    confidence: Float[Tensor, "T N"]


# (video UInt8[T 3 H W], queries Float[N 3] = (t, x, y) px) -> Tracked, in pixels of the video it was given
Tracker = Callable[[Tensor, Tensor], Tracked]


@runtime_checkable
class Clips(Protocol):
    """The unbatched clips of one group: a Dataset, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> VideoSample: ...


def score_clip(sample: VideoSample, tracked: Tracked, query_mode: str = "first") -> dict[str, float]:
    """The TAP-Vid metrics of one unbatched clip, each in [0, 1]; NaN where no visible point is evaluated.

    Raises ValueError if the tracker's answer has the wrong shape or is not finite.
    """
    tracks, visible = tracked.tracks.detach().cpu(), tracked.visible.detach().cpu()
    _check(sample, tracks, visible)
    size = tuple(sample.video.shape[-2:])

    def raster(xy: Tensor) -> np.ndarray:
        return rescale(xy.double(), size, (METRIC_SIZE, METRIC_SIZE)).numpy()

    time = sample.queries.frame.double()[:, None].numpy()
    query_tyx = np.concatenate([time, raster(sample.queries.xy)[:, ::-1]], axis=-1)  # N 3
    scores = compute_tapvid_metrics(
        query_tyx[None],
        ~sample.visible.T.numpy()[None],  # T N -> 1 N T
        raster(sample.tracks).transpose(1, 0, 2)[None],  # T N 2 -> 1 N T 2
        ~visible.T.numpy()[None],
        raster(tracks).transpose(1, 0, 2)[None],
        query_mode,
    )
    return {name: float(np.asarray(value).reshape(-1)[0]) for name, value in scores.items()}


def queries_txy(sample: VideoSample) -> Float[Tensor, "N 3"]:
    """The queries of a clip as one array of (t, x, y), px."""
    return torch.cat([sample.queries.frame[:, None].float(), sample.queries.xy], dim=-1)


def _check(sample: VideoSample, tracks: Tensor, visible: Tensor) -> None:
    if tracks.shape != sample.tracks.shape or visible.shape != sample.visible.shape:
        raise ValueError(
            f"{sample.name}: expected tracks {tuple(sample.tracks.shape)} and as many visibilities, "
            f"got {tuple(tracks.shape)} and {tuple(visible.shape)}"
        )
    if not tracks.isfinite().all():
        raise ValueError(f"{sample.name}: the tracker returned positions that are not finite")
    if not sample.labelled.all() or (sample.visible & ~sample.located).any():
        raise ValueError(f"{sample.name}: ground truth is incomplete, TAP-Vid metrics need all of it")
