"""Tracking a whole clip: a file, a folder, an array, or frames as they come."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference.checks import check_probability, check_tracker
from retracker.inference.frames import GROUP_SIZE, finest_size, shown, tracking_size, views
from retracker.inference.queries import Layout, parse_queries
from retracker.inference.slots import Slots
from retracker.media.sources import WHOLE, FrameSource, Window, as_source
from retracker.types import Queries, TensorStruct, TrackResult, where

BLOCK = 128  # frames whose answers are kept in one piece: small ones would keep freed memory in pieces
READ_BACK = 32  # frames that are read again at a time, to be tracked backward; fewer if they are large
MOST_BYTES = 2**27

Progress = Callable[[], None]  # called after every frame that is done
Stop = Callable[[], bool]  # asked before every frame


def track(  # noqa: PLR0913 -- what is tracked (3), how (6), how much of it and who is told (3)
    model: nn.Module,
    video: Tensor | np.ndarray | str | Path | Iterable | FrameSource,
    queries: Tensor | np.ndarray | Sequence | Layout,
    backward: bool = False,
    image_size: int | None = None,
    progress: Progress | None = None,
    max_frames: int | None = None,
    subpixel: bool = True,
    points_per_chunk: int | None = None,
    max_size: int | None = None,
    stop: Stop | None = None,
    visible_threshold: float | int | None = None,
) -> TrackResult:
    """Follow the queries (N, 3) = (t, x, y), frame and raster px, through a video.

    The queries may also be a ``Grid``, ``Mask`` or ``Dense`` layout. The video is a file, a folder of
    pictures, or frames, (3, H, W) or (H, W, 3) uint8 and all of one size: an array or a list of them, or
    whatever yields one after another. A file is decoded, and an iterator asked, as it is tracked, in constant
    memory; but an iterator's frames up to the last query are kept if ``backward``.

    ``backward`` also follows each point from its query back to the start. Without it, the frames before a
    query hold its own position, hidden, with confidence 0. The net works on about ``image_size ** 2`` pixels
    of a frame (None: ``frames.tracking_size``). With ``subpixel`` what is said of visible points
    is moved to where the grey values around them, as they were at birth, fit best (``subpixel.py``), up to
    full resolution, or frames whose sides are no longer than ``max_size`` px. ``points_per_chunk`` bounds
    memory: no more points are tracked in one pass through the video; the answer stays the same. If ``stop``
    says so, tracking ends, and what was not done by then has confidence 0. ``visible_threshold``, in [0, 1],
    takes the place of the model's: 0 calls every point visible from birth on, 1 none after it; positions and
    confidence stay the same.

    Raises ValueError for a net that follows no points, a query that is not finite, outside the frame or after
    the end, and what ``as_source`` and reading raise.
    """
    check_tracker(model)
    check_probability("visible_threshold", visible_threshold)
    source = as_source(video, WHOLE if max_frames is None else Window(end=max_frames))
    size = source.size()
    asked = parse_queries(queries, size)
    _check_declared(asked, source)
    chunks = _chunks(len(asked.xy), points_per_chunk)
    if len(chunks) > 1 and not source.repeatable:
        raise ValueError(
            "points_per_chunk: an iterator's frames can be read only once; give it a file or a list"
        )
    small = tracking_size(model, size, image_size)
    local = replace(asked, xy=rescale(asked.xy, size, small))
    finest = finest_size(size, max_size) if subpixel else small
    clip = _Clip(source, (size, small, finest), _device(model), stop or _never)
    slots = partial(Slots, model, GROUP_SIZE, subpixel=subpixel, visible_threshold=visible_threshold)
    with torch.inference_mode():
        parts = [
            _both_ways(slots, clip, local.map(lambda x, some=some: x[some]), progress, backward=backward)
            for some in chunks
        ]
    if not clip.stopped:
        _check_end(asked, len(clip.times))
    return _result(_together(parts), asked, clip)


@dataclass(frozen=True, kw_only=True)
class _Rows(TensorStruct):
    """Answers for all frames on one time axis."""

    tracks: Float[Tensor, "T N 2"]
    visible: Bool[Tensor, "T N"]
    confidence: Float[Tensor, "T N"]


class _Clip:
    """A source's frames as a network is given them, until tracking is stopped."""

    def __init__(
        self,
        source: FrameSource,
        sizes: tuple[tuple[int, int], ...],  # (height, width): its own, the working size, the finest
        device: torch.device,
        stop: Stop,
    ) -> None:
        self.source, self.device, self.stop = source, device, stop
        self.size, self.small, self.finest = sizes
        self.stopped = False
        self.times: list[float | None] = []  # of the frames that were looked at

    def forth(self) -> Iterator[list[UInt8[Tensor, "3 _ _"]]]:
        for t, (time, frame) in enumerate(self.source.timed()):
            if self._ends():
                return
            now = (frame.shape[-2], frame.shape[-1])
            if now != self.size:
                like = f"expected {shown(self.size)} like the first frame"
                raise ValueError(f"{self.source.name(t)}: {like}, got {shown(now)}")
            if t == len(self.times):  # in the first pass, unless that was stopped sooner than this one
                self.times.append(time)
            yield self._views(frame)

    def back(self, last: int) -> Iterator[list[UInt8[Tensor, "3 _ _"]]]:
        """From frame ``last`` to the first."""
        count = max(1, min(READ_BACK, MOST_BYTES // (3 * self.size[0] * self.size[1])))
        for end in range(last + 1, 0, -count):
            block = self.source.read(range(max(0, end - count), end))
            for t in reversed(range(len(block))):
                if self._ends():
                    return
                yield self._views(block[t])

    def _views(self, frame: UInt8[Tensor, "3 H W"]) -> list[UInt8[Tensor, "3 _ _"]]:
        return views(frame.to(self.device), self.small, self.finest)

    def _ends(self) -> bool:
        self.stopped = self.stopped or self.stop()
        return self.stopped


def _both_ways(
    make_slots: Callable[[], Slots], clip: _Clip, local: Queries, progress: Progress | None, *, backward: bool
) -> _Rows:
    last = int(local.frame.max()) if backward and len(local.frame) else -1
    clip.source.keep(last + 1)
    found = _follow(make_slots, clip.forth(), local, progress)
    last = min(last, len(found.tracks) - 1)
    if last < 1:  # nothing lies before the first frame
        return found
    mirrored = replace(local, frame=last - local.frame)
    past = _follow(make_slots, clip.back(last), mirrored, progress)
    missing = last + 1 - len(past.tracks)  # where it was stopped
    before = torch.arange(last + 1)[:, None] < local.frame
    before[:missing] = False
    padded = past.map(lambda x: torch.cat([x, x.new_zeros(missing, *x.shape[1:])]).flip(0))
    start = where(before, padded, found.map(lambda x: x[: last + 1]))
    return start.map(lambda a, b: torch.cat([a, b[last + 1 :]]), found)


def _follow(
    make_slots: Callable[[], Slots], frames: Iterable[list[Tensor]], local: Queries, progress: Progress | None
) -> _Rows:
    """Track through frames, each at its working size and finer; queries in px of the working size."""
    slots, blocks, done = make_slots(), [], 0
    waiting = _Rows(
        tracks=local.xy[None],
        visible=torch.zeros_like(local.frame, dtype=torch.bool)[None],
        confidence=torch.zeros_like(local.xy[None, :, 0]),
    )
    for t, seen in enumerate(frames):
        for index in (local.frame == t).nonzero()[:, 0].tolist():
            slots.add(index, tuple(local.xy[index].tolist()))
        if t % BLOCK == 0:
            blocks.append(waiting.map(lambda x: x.expand(BLOCK, *x.shape[1:]).clone()))
        if len(slots):  # else nobody is born yet, and nothing need be looked at
            found, block, row = slots.step(slots.net.encode(seen[0][None]), seen), blocks[-1], t % BLOCK
            block.tracks[row, found.ids] = found.tracks
            block.visible[row, found.ids] = found.visible
            block.confidence[row, found.ids] = found.confidence
        done = t + 1
        if progress is not None:
            progress()
    blocks = blocks or [waiting]
    return blocks[0].map(lambda *parts: torch.cat(parts)[:done], *blocks[1:])


def _result(found: _Rows, asked: Queries, clip: _Clip) -> TrackResult:
    tracks = rescale(found.tracks, clip.small, clip.size).clone()
    now = torch.arange(len(tracks))[:, None]
    unseen = (now < asked.frame) & (found.confidence == 0)  # before birth, if not tracked backward
    own = (now == asked.frame) | unseen
    tracks = torch.where(own[..., None], asked.xy, tracks)  # to the bit, whatever resizing rounds
    # Clones made outside of inference mode are ordinary tensors, which users may write into.
    return TrackResult(
        tracks=tracks,
        visible=found.visible.clone(),
        confidence=found.confidence.clone(),
        size=clip.size,
        fps=clip.source.fps,
        times=None if None in clip.times else torch.tensor(clip.times, dtype=torch.float64),
        queries=torch.cat([asked.frame[:, None].double(), asked.xy.double()], dim=-1),
    )


def _chunks(num_points: int, most: int | None) -> list[Tensor]:
    if most is not None and most < 1:
        raise ValueError(f"points_per_chunk: expected a positive number, got {most}")
    return list(torch.arange(num_points).split(most or max(1, num_points)))


def _together(parts: list[_Rows]) -> _Rows:
    """All points of all chunks; those of a chunk that was stopped sooner have no answers at its end."""
    longest = max(len(part.tracks) for part in parts)

    def lengthened(x: Tensor) -> Tensor:
        return torch.cat([x, x.new_zeros(longest - len(x), *x.shape[1:])])

    parts = [part.map(lengthened) for part in parts]
    return parts[0].map(lambda *values: torch.cat(values, dim=1), *parts[1:])


def _check_declared(asked: Queries, source: FrameSource) -> None:
    """Saves tracking a long film only to find a query beyond its end."""
    declared = source.declared()
    if declared is not None:
        late = len(asked.frame) and int(asked.frame.max()) >= declared
        _check_end(asked, source.counted() if late else declared)


def _check_end(asked: Queries, num_frames: int) -> None:
    late = (asked.frame >= num_frames).nonzero()[:, 0].tolist()
    if late:
        raise ValueError(
            f"query {late[0]} is in frame {asked.frame[late[0]]}, after the end: "
            f"the video has {num_frames} frames (0 to {num_frames - 1})"
        )


def _never() -> bool:
    return False


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
