"""Tracking a whole clip: a tensor, or a video file that is decoded as it is tracked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference.frames import GROUP_SIZE, channels_first, check_inside, resize, shown, working_size
from retracker.inference.slots import Slots
from retracker.media.video import count_frames, iterate_video, probe
from retracker.types import Queries, TensorStruct, TrackResult, where

BLOCK = 128  # frames whose answers are kept in one piece: small ones would keep freed memory in pieces
UINT8 = ("uint8", "torch.uint8")
LAST_FRAME = 2**31 - 1  # no film is that long, and what is larger may not fit in an integer

Progress = Callable[[], None]  # called after every frame that is done


def track(  # noqa: PLR0913 -- what is tracked (3), how (3), how much of it and who is told (2)
    model: nn.Module,
    video: Tensor | np.ndarray | str | Path | Iterable[Tensor | np.ndarray],
    queries: Tensor | np.ndarray | Sequence,
    backward: bool = False,
    image_size: int | None = None,
    progress: Progress | None = None,
    max_frames: int | None = None,
    subpixel: bool = True,
) -> TrackResult:
    """Follow the queries (N, 3) = (t, x, y), frame and raster px, through a video.

    That is a file; or frames, (3, H, W) or (H, W, 3) uint8 and all of one size: a tensor or array of them,
    or whatever yields one after another. A file is decoded, and an iterator asked, as it is tracked, in
    constant memory. ``backward`` also follows each point from its query back to the start; the frames up to
    the last query are then kept in memory, at the network's working size. Without it, the frames before a
    query hold its own position, hidden, with confidence 0.
    With ``subpixel`` what is said of visible points is moved to where the grey values around them, as they
    were at birth, fit best (``subpixel.py``). Raises ValueError for a query that is not finite, outside the
    frame or after the end, and what ``iterate_video`` raises.
    """
    asked = parse_queries(queries)
    frames, fps = _open(video, asked, max_frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("expected a video of at least one frame, got none")
    size = (first.shape[-2], first.shape[-1])
    check_inside(asked.xy, size)
    small = working_size(*size, image_size or model.image_size)
    local = replace(asked, xy=rescale(asked.xy, size, small))
    with torch.inference_mode():
        prepared = _prepare(chain([first], frames), size, small, _device(model))
        num_kept = int(asked.frame.max()) + 1 if backward and len(asked.xy) else 0
        kept = [frame.cpu() for frame in islice(prepared, num_kept)]
        slots = partial(Slots, model, GROUP_SIZE, subpixel=subpixel)
        found = _follow(slots, chain(kept, prepared), local, progress)
        _check_end(asked, len(found.tracks))
        if kept:
            found = _extend_backward(slots, kept, local, found, progress)
    tracks = rescale(found.tracks, small, size).clone()
    tracks[asked.frame, torch.arange(len(asked.xy))] = asked.xy  # to the bit, whatever resizing rounds
    # Clones made outside of inference mode are ordinary tensors, which users may write into.
    return TrackResult(
        tracks=tracks, visible=found.visible.clone(), confidence=found.confidence.clone(), size=size, fps=fps
    )


def parse_queries(queries: Tensor | np.ndarray | Sequence) -> Queries:
    """Queries (N, 3) = (t, x, y) as a record; raises ValueError naming which of them is wrong, and how."""
    table = torch.as_tensor(queries, dtype=torch.float64).detach().cpu()
    if table.ndim != 2 or table.shape[1] != 3:
        raise ValueError(f"expected queries of shape (N, 3) = (t, x, y), got {tuple(table.shape)}")
    check_inside(table[:, 1:].float(), size=None)
    for index, t in enumerate(table[:, 0].tolist()):
        if not (0 <= t <= LAST_FRAME and t.is_integer()):
            raise ValueError(
                f"query {index}: expected a whole frame number from 0 to {LAST_FRAME}, got {t:g}"
            )
    return Queries(xy=table[:, 1:].float(), frame=table[:, 0].long())


@dataclass(frozen=True, kw_only=True)
class _Rows(TensorStruct):
    """Answers for all frames on one time axis."""

    tracks: Float[Tensor, "T N 2"]
    visible: Bool[Tensor, "T N"]
    confidence: Float[Tensor, "T N"]


def _open(
    video: Tensor | np.ndarray | str | Path | Iterable, asked: Queries, max_frames: int | None
) -> tuple[Iterator[Tensor], float | None]:
    if isinstance(video, (Tensor, np.ndarray)) and (str(video.dtype) not in UINT8 or video.ndim != 4):
        raise ValueError(
            f"expected a uint8 video of shape (T, 3, H, W) or (T, H, W, 3), "
            f"got {video.dtype} {tuple(video.shape)}"
        )
    if not isinstance(video, (str, Path)):
        return (channels_first(torch.as_tensor(frame)) for frame in islice(video, max_frames)), None
    info = probe(video)
    num_frames = info.num_frames
    if num_frames is not None:  # saves tracking a long film only to find a query beyond its end
        if (asked.frame >= num_frames).any():  # a fragmented file declares its first fragment only
            num_frames = count_frames(video)
        _check_end(asked, min(num_frames, max_frames or num_frames))
    return islice(iterate_video(video), max_frames), info.fps


def _prepare(
    frames: Iterator[Tensor], size: tuple[int, int], small: tuple[int, int], device: torch.device
) -> Iterator[UInt8[Tensor, "3 h w"]]:
    for t, frame in enumerate(frames):
        now = (frame.shape[-2], frame.shape[-1])
        if now != size:
            raise ValueError(f"frame {t}: expected {shown(size)} like the first frame, got {shown(now)}")
        yield resize(frame.to(device), small)


def _follow(
    make_slots: Callable[[], Slots], frames: Iterable[Tensor], local: Queries, progress: Progress | None
) -> _Rows:
    """Track through frames of the working size, queries in px of that size."""
    slots, blocks, done = make_slots(), [], 0
    device = _device(slots.net)
    waiting = _Rows(
        tracks=local.xy[None],
        visible=torch.zeros_like(local.frame, dtype=torch.bool)[None],
        confidence=torch.zeros_like(local.xy[None, :, 0]),
    )
    for t, frame in enumerate(frames):
        for index in (local.frame == t).nonzero()[:, 0].tolist():
            slots.add(index, tuple(local.xy[index].tolist()))
        if t % BLOCK == 0:
            blocks.append(waiting.map(lambda x: x.expand(BLOCK, *x.shape[1:]).clone()))
        if len(slots):  # else nobody is born yet, and nothing need be looked at
            frame = frame.to(device)
            found, block, row = slots.step(slots.net.encode(frame[None]), frame), blocks[-1], t % BLOCK
            block.tracks[row, found.ids] = found.tracks
            block.visible[row, found.ids] = found.visible
            block.confidence[row, found.ids] = found.confidence
        done = t + 1
        if progress is not None:
            progress()
    return blocks[0].map(lambda *parts: torch.cat(parts)[:done], *blocks[1:])


def _extend_backward(
    make_slots: Callable[[], Slots],
    frames: list[Tensor],
    local: Queries,
    found: _Rows,
    progress: Progress | None,
) -> _Rows:
    """Fill the frames before each query by tracking back through ``frames``, those up to the last query."""
    last = len(frames) - 1
    mirrored = replace(local, frame=last - local.frame)
    past = _follow(make_slots, frames[::-1], mirrored, progress).map(lambda x: x.flip(0))
    before = torch.arange(last + 1)[:, None] < local.frame
    start = where(before, past, found.map(lambda x: x[: last + 1]))
    return start.map(lambda a, b: torch.cat([a, b[last + 1 :]]), found)


def _check_end(asked: Queries, num_frames: int) -> None:
    late = (asked.frame >= num_frames).nonzero()[:, 0].tolist()
    if late:
        raise ValueError(
            f"query {late[0]} is in frame {asked.frame[late[0]]}, after the end: "
            f"the video has {num_frames} frames (0 to {num_frames - 1})"
        )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
