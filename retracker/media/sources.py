"""Where frames come from: a video file, a folder of pictures, an array, or whatever yields them.

Frames of a source are numbered as they are there; a window takes some of them.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.media.image import read_image
from retracker.media.video import count_frames, iterate_timed, probe, read_frames

PICTURE_ENDINGS = frozenset("bmp jpeg jpg pgm png ppm tif tiff webp".split())
VIDEO_ENDINGS = frozenset("avi gif m2ts m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv y4m".split())
UINT8 = ("uint8", "torch.uint8")
CHANNELS = (1, 3, 4)  # grey, colours, colours with alpha

Frame = UInt8[Tensor, "3 H W"]
TimedFrame = tuple[float | None, Tensor]  # s, when it is shown, if that is known; and the frame


@dataclass(frozen=True, kw_only=True)
class Window:
    """Frames ``start``, ``start + stride``, ... before ``end`` of a source. Raises ValueError if empty."""

    start: int = 0
    end: int | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        if self.start < 0 or self.stride < 1:
            raise ValueError(
                f"expected a start from 0 and a stride from 1, got start {self.start}, stride {self.stride}"
            )
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"expected an end after the start ({self.start}), got {self.end}")

    def count(self, available: int) -> int:
        """How many of so many frames it takes."""
        end = available if self.end is None else min(self.end, available)
        return max(0, -(-(end - self.start) // self.stride))

    def number(self, index: int) -> int:
        """Which frame of the source comes as the ``index``-th."""
        return self.start + index * self.stride


WHOLE = Window()


class FrameSource(ABC):
    """Frames in their order, as a window takes them."""

    window: Window
    where: str  # as users named it
    fps: float | None = None  # of the source; None: it does not say

    @abstractmethod
    def timed(self) -> Iterator[TimedFrame]:
        """The frames, one after another, each behind its time; nothing is kept."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
        """Some of the frames, counted in the window."""

    def name(self, index: int) -> str:
        """What to call a frame, counted in the window, in a message."""
        return f"{self.where}, frame {self.window.number(index)}"

    def size(self) -> tuple[int, int]:
        """Height and width of the first frame. Raises ValueError if there is none."""
        return _size(next(iter(self), None), self)

    @property
    def repeatable(self) -> bool:
        """Whether all frames can be read more than once."""
        return True

    def keep(self, count: int) -> None:  # noqa: B027 -- nothing to do for those that can be read again
        """Say before they are read that the first ``count`` frames will be asked for again."""

    def declared(self) -> int | None:
        """How many frames there should be, if that can be told without decoding."""
        return None

    def counted(self) -> int | None:
        """The same, by looking closer."""
        return self.declared()

    def __iter__(self) -> Iterator[Tensor]:
        return (frame for _, frame in self.timed())


class VideoFile(FrameSource):
    """A video file. Raises FileNotFoundError if it is missing, ValueError if it is none."""

    def __init__(self, path: str | Path, window: Window = WHOLE) -> None:
        self.path, self.where, self.window = Path(path), str(path), window
        self._info = probe(path)
        self.fps = self._info.fps

    def timed(self) -> Iterator[TimedFrame]:
        return _some(iterate_timed(self.path), self.window)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
        return read_frames(self.path, [self.window.number(index) for index in indices])

    def size(self) -> tuple[int, int]:
        if self.declared() == 0:  # behind the end, if that is where the file says
            return super().size()
        return self._info.height, self._info.width

    def declared(self) -> int | None:
        return None if self._info.num_frames is None else self.window.count(self._info.num_frames)

    def counted(self) -> int | None:
        # A fragmented file declares its first fragment only.
        return None if self._info.num_frames is None else self.window.count(count_frames(self.path))


class FrameFolder(FrameSource):
    """A folder of pictures, in the order of the numbers in their names. ValueError if there is none."""

    def __init__(self, folder: str | Path, window: Window = WHOLE) -> None:
        self.where, self.window = str(folder), window
        found = pictures_in(folder)
        if not found:
            raise ValueError(f"{folder}: holds no picture and no video")
        self._files = found[window.start : window.end : window.stride]

    def name(self, index: int) -> str:
        return str(self._files[index])

    def timed(self) -> Iterator[TimedFrame]:
        return ((None, read_image(path)) for path in self._files)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
        return torch.stack([read_image(self._files[index]) for index in indices])

    def declared(self) -> int:
        return len(self._files)


class FrameArray(FrameSource):
    """Frames in memory, as one array or a sequence of frames (see ``rgb``)."""

    def __init__(self, video: Tensor | np.ndarray | Sequence, window: Window = WHOLE) -> None:
        self.where, self.window = "the video", window
        if isinstance(video, (Tensor, np.ndarray)) and (
            str(video.dtype) not in UINT8
            or video.ndim not in (3, 4)
            or (video.ndim == 3 and 3 in video.shape)
        ):
            raise ValueError(
                f"expected a uint8 video of shape (T, 3, H, W) or (T, H, W, 3), "
                f"got {video.dtype} {tuple(video.shape)}"
            )
        self._video = video[window.start : window.end : window.stride]

    def timed(self) -> Iterator[TimedFrame]:
        return map(_timed, self._video)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
        return torch.stack([_timed(self._video[index])[1] for index in indices])

    def declared(self) -> int:
        return len(self._video)


class FrameStream(FrameSource):
    """Whatever yields frames, or pairs of a time and a frame: they can be had once, but for what is kept."""

    def __init__(self, frames: Iterable, window: Window = WHOLE, where: str = "the video") -> None:
        self.where, self.window = where, window
        self._frames = _some(frames, window)
        self._kept: list[Tensor] = []
        self._to_keep, self._passed = 0, False
        self._next: list[TimedFrame] = []  # looked at, and not passed on yet

    @property
    def repeatable(self) -> bool:
        return False

    def keep(self, count: int) -> None:
        self._to_keep = count

    def size(self) -> tuple[int, int]:
        if not self._next:
            self._next = [_timed(item) for item in islice(self._frames, 1)]
        return _size(self._next[0][1] if self._next else None, self)

    def timed(self) -> Iterator[TimedFrame]:
        if self._passed:
            raise ValueError(f"{self.where}: its frames can be read only once")
        self._passed = True
        for time, frame in chain(self._next, map(_timed, self._frames)):
            if len(self._kept) < self._to_keep:
                self._kept.append(frame.clone())  # cameras write each frame into the same memory
            yield time, frame

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "T 3 H W"]:
        return torch.stack([self._kept[index] for index in indices])


def as_source(
    video: Tensor | np.ndarray | str | Path | Iterable | FrameSource, window: Window = WHOLE
) -> FrameSource:
    """The frames of a file, a folder of pictures, an array, a sequence or an iterator.

    Raises FileNotFoundError if a file is missing, ValueError if it or an array is no video.
    """
    if isinstance(video, FrameSource):
        if window != WHOLE:
            raise ValueError("expected no window (max_frames) beside frames that have one of their own")
        return video
    if isinstance(video, (str, Path)):
        return FrameFolder(video, window) if Path(video).is_dir() else VideoFile(video, window)
    if isinstance(video, (Tensor, np.ndarray, Sequence)):
        return FrameArray(video, window)
    return FrameStream(video, window)


def rgb(frame: Tensor | np.ndarray) -> Frame:
    """A frame given as (3,H,W) or (H,W,3) uint8, as the former; also grey ones, (H,W), (1,H,W) or (H,W,1),
    and ones with alpha, (4,H,W) or (H,W,4), which is dropped. Raises ValueError if it is none of these."""
    if isinstance(frame, np.ndarray) and min(frame.strides, default=0) < 0:
        frame = frame.copy()  # torch knows no steps backward
    frame = torch.as_tensor(frame)
    shape = tuple(frame.shape)
    if frame.dtype == torch.uint8 and 0 not in shape:
        if len(shape) == 2:
            return frame.expand(3, *shape)
        if len(shape) == 3 and shape[0] in CHANNELS:
            return frame.expand(3, *shape[1:]) if shape[0] == 1 else frame[:3]
        if len(shape) == 3 and shape[-1] in CHANNELS:
            return rgb(frame.permute(2, 0, 1))
    raise ValueError(
        f"expected a frame of shape (3, H, W) or (H, W, 3) and type uint8, "
        f"got shape {shape} and type {str(frame.dtype).removeprefix('torch.')}"
    )


def pictures_in(folder: str | Path) -> list[Path]:
    """The pictures that lie in a folder, in the order of the numbers in their names."""
    return _in_order(path for path in Path(folder).iterdir() if path.suffix.lower()[1:] in PICTURE_ENDINGS)


def videos_in(folder: str | Path) -> list[Path]:
    """The videos that lie in a folder, by their endings, in the order of the numbers in their names."""
    return _in_order(path for path in Path(folder).iterdir() if path.suffix.lower()[1:] in VIDEO_ENDINGS)


def _in_order(paths: Iterable[Path]) -> list[Path]:
    def key(path: Path) -> list[str | tuple[int, str]]:
        # Numbers by size, not letter by letter: frame_10 comes after frame_9.
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]

    return sorted((p for p in paths if p.is_file() and not p.name.startswith(".")), key=key)


def _some(items: Iterable, window: Window) -> Iterator:
    return islice(items, window.start, window.end, window.stride)


def _timed(item: Tensor | np.ndarray | TimedFrame) -> TimedFrame:
    time, frame = item if isinstance(item, tuple) else (None, item)
    return time, rgb(frame)


def _size(first: Tensor | None, source: FrameSource) -> tuple[int, int]:
    if first is None:
        start = source.window.start
        problem = f"has no frame {start}" if start else "expected a video of at least one frame, got none"
        raise ValueError(f"{source.where}: {problem}" if start else problem)
    return first.shape[-2], first.shape[-1]
