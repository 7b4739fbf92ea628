"""ReTracker behind the call signatures of co-tracker's predictors."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Num, UInt8
from torch import Tensor, nn

from retracker.checkpoint import load
from retracker.inference.checks import check_tracker
from retracker.inference.clip import track
from retracker.inference.online import OnlineTracker
from retracker.inference.queries import Dense, parse_queries
from retracker.types import Queries, TrackResult

POINTS_AT_ONCE = 4096  # of the dense mode, whose points remember some 60 KB each


class CoTrackerPredictor(nn.Module):
    """A drop-in for ``CoTrackerPredictor``: same arguments, same results, another tracker inside.

    What differs:

    * Positions are raster pixels, as everywhere here: (0, 0) is the corner of the upper-left pixel, where
      co-tracker means its centre. Add 0.5 to a pixel's index to ask for that pixel.
    * ``model`` is a net or what ``retracker.load`` takes; co-tracker's weights are refused. ``offline``,
      ``v2`` and ``window_len`` are taken and change nothing: there is one net, and no window.
    * A point's track depends on no frame after it, and on no other point, so no support grid is added.
    * Before its query's frame a point stays where it is asked for, hidden, unless ``backward_tracking``;
      co-tracker says what it extrapolates.
    * The dense mode (neither queries nor a grid) gives every pixel's centre, row by row; co-tracker takes
      every (W // 80)-th pixel in turn, and leaves out the last ones of a row. ``segm_mask`` only goes with
      a grid, and ``queries`` go before a grid, as there.
    * The video may be uint8, too. Queries that are not finite, outside of the frame, or in no whole frame
      are a ValueError.
    """

    def __init__(
        self,
        model: nn.Module | str | Path | None = None,
        offline: bool = True,  # noqa: ARG002
        v2: bool = False,  # noqa: ARG002
        window_len: int = 60,  # noqa: ARG002
        *,
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.model = _net(model, checkpoint)

    def forward(
        self,
        video: Num[Tensor, "B T 3 H W"],
        queries: Num[Tensor, "_ _ 3"] | None = None,
        segm_mask: Tensor | None = None,
        grid_size: int = 0,
        grid_query_frame: int = 0,
        backward_tracking: bool = False,
    ) -> tuple[Float[Tensor, "B T N 2"], Bool[Tensor, "B T N"]]:
        """Track through a batch of videos with values 0..255.

        The points are either ``queries`` (t, x, y), or a regular grid of ``grid_size`` a side in frame
        ``grid_query_frame``, kept only where ``segm_mask`` (B, 1, H, W) is above 0.5 if there is one (then B
        = 1), or all pixels of that frame. Returns positions and whether each point is visible, on the video's
        device. Raises what ``retracker.track`` raises.
        """
        if queries is None and grid_size > 0:
            queries = _grid_queries(video, segm_mask, grid_size, grid_query_frame)
        asked = (
            len(video) * [Dense(frame=grid_query_frame)] if queries is None else _each(queries, len(video))
        )
        results = [
            track(self.model, clip, points, backward=backward_tracking, points_per_chunk=POINTS_AT_ONCE)
            for clip, points in zip(_as_uint8(video), asked, strict=True)
        ]
        return _batch(results, video.device)


class CoTrackerOnlinePredictor(nn.Module):
    """A drop-in for ``CoTrackerOnlinePredictor``, which is given a video in chunks that overlap.

    The first call, with ``is_first_step``, says what to track and returns (None, None). Each later one is
    given the next chunk: it starts ``step`` frames after the previous one did, and is ``2 * step`` frames
    long (the last may be shorter). It returns the answers for all frames so far.

    What differs, beside what does in ``CoTrackerPredictor``: frames that came before are not tracked again,
    so answers never change; ``retracker.OnlineTracker`` gives the same without chunks and their delay. What
    was answered is kept, and grows with the video, as in co-tracker; nothing else does. Queries in frames
    that are still to come are born there.
    """

    def __init__(
        self,
        model: nn.Module | str | Path | None = None,
        offline: bool = False,  # noqa: ARG002
        v2: bool = False,  # noqa: ARG002
        window_len: int = 16,
        *,
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.model = _net(model, checkpoint)
        self.step = window_len // 2  # frames
        self._streams: list[_Stream] = []
        self._start = 0  # the frame that the next chunk begins with

    def forward(
        self,
        video_chunk: Num[Tensor, "B T 3 H W"],
        is_first_step: bool = False,
        queries: Num[Tensor, "_ _ 3"] | None = None,
        grid_size: int = 5,
        grid_query_frame: int = 0,
        add_support_grid: bool = False,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "B F N 2"] | None, Bool[Tensor, "B F N"] | None]:
        """Begin a video, or track through its next chunk (values 0..255): positions, and who is visible.

        The points are ``queries`` (t, x, y) or a grid, as in ``CoTrackerPredictor``, given with the first
        step. Raises ValueError if there are neither, for a query that is wrong, for a chunk that leaves
        frames out, and what ``OnlineTracker`` raises.
        """
        if is_first_step:
            if queries is None and grid_size < 1:
                raise ValueError("expected queries or a grid_size of at least 1, got neither")
            if queries is None:
                queries = _grid_queries(video_chunk, None, grid_size, grid_query_frame)
            size = (video_chunk.shape[-2], video_chunk.shape[-1])
            asked = [parse_queries(points, size) for points in _each(queries, len(video_chunk))]
            self._streams, self._start = [_Stream(self.model, points) for points in asked], 0
            return None, None
        if len(self._streams) != len(video_chunk):
            raise ValueError(
                f"expected a first step with {len(video_chunk)} videos before, it had {len(self._streams)}"
            )
        results = [
            stream.follow(clip, self._start)
            for stream, clip in zip(self._streams, _as_uint8(video_chunk), strict=True)
        ]
        self._start += self.step
        return _batch(results, video_chunk.device)


class _Stream:
    """One video that comes in chunks."""

    def __init__(self, net: nn.Module, queries: Queries) -> None:
        self._tracker, self._queries = OnlineTracker(net), queries
        self._order: list[int] = []  # which query each id of the tracker is
        self._tracks: list[Tensor] = []
        self._visible: list[Tensor] = []

    def follow(self, chunk: UInt8[Tensor, "T 3 H W"], start: int) -> TrackResult:
        """Track the frames of a chunk that are new, of which the first is frame ``start``."""
        done = len(self._tracks)
        if start > done:
            raise ValueError(f"expected a chunk that begins by frame {done}, got one from frame {start}")
        for frame in chunk[done - start :]:
            self._step(frame)
        tracks, visible = torch.stack(self._tracks), torch.stack(self._visible)
        return TrackResult(tracks=tracks, visible=visible, confidence=visible.float())

    def _step(self, frame: UInt8[Tensor, "3 H W"]) -> None:
        born = (self._queries.frame == len(self._tracks)).nonzero()[:, 0]
        self._tracker.add_queries(self._queries.xy[born])
        self._order += born.tolist()
        found = self._tracker.step(frame)
        tracks = self._queries.xy.clone()
        visible = torch.zeros(len(tracks), dtype=torch.bool)
        which = torch.tensor(self._order, dtype=torch.long)[found.ids]
        tracks[which], visible[which] = found.tracks, found.visible
        self._tracks.append(tracks)
        self._visible.append(visible)


def _net(model: nn.Module | str | Path | None, checkpoint: str | Path | None) -> nn.Module:
    if model is not None and checkpoint is not None:
        raise ValueError("expected a model or a checkpoint, got both")
    source = "tiny" if model is None and checkpoint is None else (model or checkpoint)
    if isinstance(source, nn.Module):
        check_tracker(source)
        return source
    net = load(source)
    check_tracker(net, str(source))
    return net


def _each(queries: Num[Tensor, "_ N 3"], batch: int) -> Sequence[Tensor]:
    if queries.ndim != 3 or queries.shape[0] != batch or queries.shape[2] != 3:
        raise ValueError(f"expected queries of shape ({batch}, N, 3) = (t, x, y), got {tuple(queries.shape)}")
    return list(queries)


def _as_uint8(video: Num[Tensor, "B T 3 H W"]) -> UInt8[Tensor, "B T 3 H W"]:
    return video if video.dtype == torch.uint8 else video.round().clamp(0, 255).to(torch.uint8)


def _batch(
    results: list[TrackResult], device: torch.device
) -> tuple[Float[Tensor, "B T N 2"], Bool[Tensor, "B T N"]]:
    tracks = torch.stack([result.tracks for result in results])
    visible = torch.stack([result.visible for result in results])
    return tracks.to(device), visible.to(device)


def grid_with_margin(height: int, width: int, count: int) -> Float[Tensor, "N 2"]:
    """Co-tracker's grid: ``count`` points a side, a 64th of the width off the border, row by row (px).

    In frames so flat that this would cross them, the margin is a quarter of their height.
    """
    if count == 1:
        return torch.tensor([[width / 2, height / 2]])
    margins = [(min(width / 64, side / 4), side) for side in (width, height)]
    x, y = (torch.linspace(margin, side - margin, count) for margin, side in margins)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


def _grid_queries(
    video: Tensor, segm_mask: Tensor | None, grid_size: int, frame: int
) -> Float[Tensor, "B N 3"]:
    batch, (height, width) = len(video), video.shape[-2:]
    points = grid_with_margin(height, width, grid_size)
    if segm_mask is not None:
        points = points[_inside_mask(points, segm_mask, height, width, batch)]
    queries = torch.cat([torch.full_like(points[:, :1], frame), points], dim=-1)
    return queries.expand(batch, -1, -1)


def _inside_mask(
    points: Tensor, segm_mask: Tensor, height: int, width: int, batch: int
) -> Bool[Tensor, " N"]:
    if batch != 1 or segm_mask.ndim != 4 or segm_mask.shape[:2] != (1, 1):
        raise ValueError(
            f"expected one video and a segm_mask of shape (1, 1, H, W), "
            f"got {batch} and {tuple(segm_mask.shape)}"
        )
    mask = F.interpolate(segm_mask.float().cpu(), (height, width), mode="nearest-exact")[0, 0] > 0.5
    column, row = points.long().unbind(-1)  # the pixel whose square holds the raster position
    return mask[row.clamp(max=height - 1), column.clamp(max=width - 1)]
