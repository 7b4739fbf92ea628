"""A film cut into clips: never across a change of shot or a gap in time, never of nothing to see."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.media.sources import TimedFrame

THUMBNAIL = (64, 48)  # px, width and height: enough to tell shots apart
COLOURS = 4  # steps of each channel in a histogram
# How much must change from one frame to the next in a cut: share of the pixels without a counterpart of their
# colour, plus what the correlation of a frame's middle with its best place in the next lacks to 1. The five
# cuts of bikes.mp4 have 0.78 to 1.37; what passes close to a camera that does not cut came to 0.56.
CHANGE = 0.67
ALIKE = 0.7  # correlation above which only the light has changed
MIDDLE = 0.5  # of a frame's sides
BLANK = 6.0  # grey levels: a frame whose standard deviation is below this shows nothing
MOVES = 12.0  # grey levels by which
MOVED_SHARE = 0.005  # of the pixels must differ from the clip's first frame, or nothing moves
LATE, USUAL = 2.5, 24  # times the median of the last so many intervals: more, and frames are missing


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How long clips are, and how far apart they begin."""

    num_frames: int
    stride: int  # frames from the start of a clip to the next one; below num_frames they overlap

    def __post_init__(self) -> None:
        if self.num_frames < 2 or self.stride < 1:
            raise ValueError(
                f"clips: expected at least 2 frames and a stride of at least 1, "
                f"got {self.num_frames} and {self.stride}"
            )


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Some frames of a film that follow each other."""

    first: int  # number of its first frame in the film
    frames: tuple[Tensor, ...]  # (3, H, W) uint8
    worth: str  # "", or why there is nothing to label: "blank", "static"


@dataclass(frozen=True)
class _Seen:
    """A frame with what it is compared by."""

    number: int
    time: float | None
    frame: Tensor
    thumbnail: np.ndarray


def cut_film(frames: Iterable[TimedFrame], cutting: Cutting, borders: frozenset[int]) -> Iterator[Clip]:
    """The clips of a film, in order, holding no more frames than one clip has.

    No clip goes over the frames in ``borders``: one may begin there.
    """
    held: deque[_Seen] = deque()
    clock = _Clock()
    pause = 0  # frames to pass over before the next clip
    for number, (time, frame) in enumerate(frames):
        now = _Seen(number, time, frame, thumbnail(frame))
        late = clock.late(time)
        if held and (number in borders or late or is_cut(held[-1], now)):
            held.clear()
            pause = 0
        if pause and number not in borders:
            pause -= 1
            continue
        pause = 0
        held.append(now)
        if len(held) == cutting.num_frames:
            yield Clip(first=held[0].number, frames=tuple(s.frame for s in held), worth=_worth(held))
            pause = max(0, cutting.stride - cutting.num_frames)
            for _ in range(min(cutting.stride, cutting.num_frames)):
                held.popleft()


def thumbnail(frame: UInt8[Tensor, "3 H W"]) -> UInt8[np.ndarray, "h w 3"]:
    """A frame in small."""
    pixels = np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy())
    return cv2.resize(pixels, THUMBNAIL, interpolation=cv2.INTER_AREA)


def is_cut(before: _Seen, after: _Seen) -> bool:
    """Whether a new shot begins: other colours, and what was in the middle is nowhere to be found."""
    alike = likeness(before.thumbnail, after.thumbnail)
    change = colour_change(before.thumbnail, after.thumbnail) + 1 - alike
    return bool(alike < ALIKE and change > CHANGE)


def colour_change(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> float:
    """The share of pixels of one picture that have no counterpart of their colour in the other."""
    places = np.array([1, COLOURS, COLOURS**2])
    counts = [
        np.bincount((x.astype(int) * COLOURS // 256 @ places).ravel(), minlength=COLOURS**3) for x in (a, b)
    ]
    return 1 - np.minimum(*counts).sum() / counts[0].sum()


def likeness(a: UInt8[np.ndarray, "h w 3"], b: UInt8[np.ndarray, "h w 3"]) -> float:
    """Correlation of the middle of one picture with the place of the other where it fits best."""
    height, width = a.shape[:2]
    top, left = (round(side * (1 - MIDDLE) / 2) for side in (height, width))
    middle = cv2.cvtColor(a, cv2.COLOR_RGB2GRAY)[top : height - top, left : width - left]
    return float(cv2.matchTemplate(cv2.cvtColor(b, cv2.COLOR_RGB2GRAY), middle, cv2.TM_CCOEFF_NORMED).max())


def stacked(clip: Clip) -> UInt8[Tensor, "T 3 H W"]:
    """A clip's frames as one array."""
    return torch.stack(clip.frames)


class _Clock:
    """Whether a frame comes later than films of its kind let it; films may have any rate, and change it."""

    def __init__(self) -> None:
        self.last: float | None = None
        self.intervals: deque[float] = deque(maxlen=USUAL)

    def late(self, time: float | None) -> bool:
        before, self.last = self.last, time
        if before is None or time is None:
            return False
        interval = time - before
        usual = float(np.median(self.intervals)) if self.intervals else interval
        self.intervals.append(interval)
        return interval > LATE * usual


def _worth(held: Iterable[_Seen]) -> str:
    thumbnails = np.stack([s.thumbnail for s in held]).astype(np.float32)  # T h w 3
    if _contrast(thumbnails).max() < BLANK:
        return "blank"
    grey = thumbnails.mean(-1)
    moved = (np.abs(grey - grey[0]) > MOVES).mean((1, 2))
    return "" if moved.max() >= MOVED_SHARE else "static"


def _contrast(thumbnails: Float[np.ndarray, "T h w 3"]) -> Float[np.ndarray, " T"]:
    return thumbnails.mean(-1).std((1, 2))
