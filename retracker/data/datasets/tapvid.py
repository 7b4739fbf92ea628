"""TAP-Vid's annotated videos: DAVIS, RGB-Stacking, Kinetics and RoboTAP, in their native resolution.

    <root>[/tapvid_davis]/tapvid_davis.pkl                   a dict of name -> video
    <root>[/tapvid_rgb_stacking]/tapvid_rgb_stacking.pkl     a list of videos
    <root>[/tapvid_kinetics]/0000_of_0010.pkl ...            a list or a dict each; frames are JPEG files
    <root>[/robotap]/robotap_split0.pkl ...                  a dict each

A video is a dict of video (T,H,W,3) uint8 or T JPEG files, points (N,T,2) and occluded (N,T). Points are
raster in [0, 1]: (1, 1) is the lower right corner, so that they are multiplied by (W, H) and nothing else.
Where a point is occluded nobody knows its position. The pickles hold gigabytes: they are looked into, and of
a video only the frames asked for are read.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.mapped_pickle import let_go, load_mapped
from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.storage import Storage
from retracker.media.image import decode_frame
from retracker.types import VideoSample

FILES = {  # of each set: its usual folder, and how its files are called
    "davis": ("tapvid_davis", r"tapvid_davis\.pkl"),
    "rgb_stacking": ("tapvid_rgb_stacking", r"tapvid_rgb_stacking\.pkl"),
    "kinetics": ("tapvid_kinetics", r"\d{4}_of_\d{4}\.pkl"),
    "robotap": ("robotap", r"robotap_split\d+\.pkl"),
}


HELD = 32  # frames of a file that are held in memory at once, beside those that were asked for


@dataclass(frozen=True)
class Video:
    """Where one video lies."""

    file: str
    key: str | int
    num_frames: int


@dataclass(frozen=True)
class Annotated:
    """Some frames of a video, and what the file says of them to the last digit."""

    video: UInt8[Tensor, "T 3 H W"]
    points: Float64[np.ndarray, "T N 2"]  # raster, in [0, 1] within the frame; where hidden, anything
    hidden: Bool[np.ndarray, "T N"]


class TapVid(Recordings):
    """The videos of one of the sets, in the order of its files. Raises ValueError if it has none.

    Making one looks into every file, to know how many videos there are.
    """

    def __init__(self, root: str, subset: str, cache: DiskCache | None = None) -> None:
        if subset not in FILES:
            raise ValueError(f"tapvid: expected as subset one of {', '.join(FILES)}, got {subset!r}")
        self.storage, self.subset = Storage(root, cache), subset
        folder, pattern = FILES[subset]
        files = self._matching(f"{folder}/", pattern) or self._matching("", pattern)
        if not files:
            like = pattern.replace(r"\d{4}", "0000").replace(r"\d+", "0").replace("\\", "")
            raise ValueError(f"{root}: expected files like {like} in it, or in its folder {folder}")
        self.files = files
        lists = [self.storage.load(file, partial(_listed, file=file)) for file in files]
        self.videos = [video for videos in lists for video in videos]

    def __len__(self) -> int:
        return len(self.videos)

    def num_frames(self, index: int) -> int:
        """As many as are stored."""
        return self.videos[index].num_frames

    def title(self, index: int) -> str:
        """What the set calls a video; where it gives no name, its file and its place there."""
        video = self.videos[index]
        return video.key if isinstance(video.key, str) else f"{Path(video.file).stem}/{video.key:04d}"

    def where(self, index: int) -> str:
        """File and video, for messages."""
        video = self.videos[index]
        return f"{self.storage.where(video.file)}: video {video.key!r}"

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError if points and frames differ in number."""
        found = self.annotated(index, frames)
        size = np.array([found.video.shape[-1], found.video.shape[-2]])
        visible = torch.from_numpy(~found.hidden)
        return labelled_clip(
            found.video,
            torch.from_numpy((found.points * size).astype(np.float32)),
            visible,
            located=visible,
            name=f"tapvid/{self.subset}/{self.title(index)}",
        )

    def annotated(
        self, index: int, frames: Sequence[int], fit: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> Annotated:
        """The given frames, each as ``fit`` (to another size, say) makes it as soon as it is read, so that
        none but those is kept; and the labels as they are stored. Raises as ``read`` does."""
        video = self.videos[index]
        return self.storage.load(
            video.file, partial(_window, key=video.key, frames=list(frames), fit=fit or as_stored)
        )

    def _matching(self, top: str, pattern: str) -> list[str]:
        return [top + name for name in self.storage.names(top) if re.fullmatch(pattern, name)]


def _listed(path: Path, file: str) -> list[Video]:
    videos = load_mapped(path)
    if not isinstance(videos, dict | list):
        raise ValueError(f"{path}: expected a dict or list of videos, got a {type(videos).__name__}")
    keys = list(videos) if isinstance(videos, dict) else range(len(videos))
    if not all(isinstance(key, str | int) for key in keys):
        raise ValueError(f"{path}: expected names of videos, got a {type(next(iter(keys))).__name__}")
    return [Video(file, key, len(_parts(path, videos, key)[0])) for key in keys]


def as_stored(frame: np.ndarray) -> np.ndarray:
    """The frame."""
    return frame


def _window(path: Path, key: str | int, frames: list[int], fit: Callable) -> Annotated:
    video, points, occluded = _parts(path, load_mapped(path), key)
    hidden = occluded[:, frames].T
    if not np.isin(hidden, (0, 1)).all():
        raise ValueError(f"{path}: video {key!r}: expected 0 or 1 in occluded")
    pictures = map(fit, _pictures(video, frames, path, key))
    return Annotated(
        video=_stacked(pictures, len(frames)),
        points=points[:, frames].swapaxes(0, 1).astype(np.float64),
        hidden=hidden.astype(bool),
    )


def _pictures(video: Any, frames: list[int], path: Path, key: str | int) -> Iterator[np.ndarray]:
    """Frames (H,W,3) one by one. Raises ValueError if one cannot be read, or they are not of one size."""
    shape = None
    for number, t in enumerate(frames):
        stored = video[t]
        if isinstance(stored, bytes | bytearray | memoryview):
            frame = decode_frame(stored, f"{path}: frame {t} of video {key!r}")
        elif isinstance(stored, np.ndarray) and stored.dtype == np.uint8 and stored.shape[2:] == (3,):
            frame = stored
        else:
            raise ValueError(
                f"{path}: frame {t} of video {key!r}: expected uint8 of (height, width, 3), or a JPEG file"
            )
        if not frame.size:
            raise ValueError(f"{path}: frame {t} of video {key!r} has no pixel, its shape is {frame.shape}")
        if shape not in (None, frame.shape):
            raise ValueError(f"{path}: video {key!r} has frames of more than one size")
        shape = frame.shape
        yield frame
        if isinstance(video, np.ndarray) and number % HELD == HELD - 1:
            let_go(video)


def _stacked(frames: Iterator[np.ndarray], num_frames: int) -> UInt8[Tensor, "T 3 H W"]:
    """A video of frames (H,W,3) that are seen one at a time."""
    first = next(frames)
    video = np.empty((num_frames, 3, *first.shape[:2]), np.uint8)
    for frame, channels in zip(chain([first], frames), video, strict=True):
        cv2.split(frame, list(channels))  # a third of the time of numpy's copy
    return torch.from_numpy(video)


def _parts(path: Path, videos: dict | list, key: str | int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Frames, points and occlusion of a video, whole, but not read yet."""
    try:
        video, points, occluded = (videos[key][name] for name in ("video", "points", "occluded"))
        lengths = {len(video), points.shape[1], occluded.shape[1]}
        kinds = points.dtype.kind in "fiu" and occluded.dtype.kind in "bfiu"
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: video {key!r} is no dict of video, points and occluded") from error
    if not len(video):
        raise ValueError(f"{path}: video {key!r} has no frames")
    shapes = f"points {points.shape} and occluded {occluded.shape}"
    if points.shape != (*occluded.shape, 2) or lengths != {len(video)}:
        raise ValueError(f"{path}: video {key!r} has {len(video)} frames, but {shapes}")
    if not kinds:
        raise ValueError(f"{path}: video {key!r} has {shapes} of {points.dtype} and {occluded.dtype}")
    return video, points, occluded
