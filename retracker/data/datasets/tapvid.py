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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.mapped_pickle import load_mapped
from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.storage import Storage
from retracker.media.image import as_video, decode_frame
from retracker.types import VideoSample

FILES = {  # of each set: its usual folder, and how its files are called
    "davis": ("tapvid_davis", r"tapvid_davis\.pkl"),
    "rgb_stacking": ("tapvid_rgb_stacking", r"tapvid_rgb_stacking\.pkl"),
    "kinetics": ("tapvid_kinetics", r"\d{4}_of_\d{4}\.pkl"),
    "robotap": ("robotap", r"robotap_split\d+\.pkl"),
}


@dataclass(frozen=True)
class Video:
    """Where one video lies."""

    file: str
    key: str | int
    num_frames: int


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

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError if points and frames differ in number."""
        video = self.videos[index]
        pictures, points, hidden = self.storage.load(
            video.file, partial(_window, key=video.key, frames=list(frames))
        )
        size = np.array([pictures.shape[-1], pictures.shape[-2]])
        visible = torch.from_numpy(~hidden)
        return labelled_clip(
            pictures,
            torch.from_numpy((points * size).astype(np.float32)),
            visible,
            located=visible,
            name=f"tapvid/{self.subset}/{self.title(index)}",
        )

    def _matching(self, top: str, pattern: str) -> list[str]:
        return [top + name for name in self.storage.names(top) if re.fullmatch(pattern, name)]


def _listed(path: Path, file: str) -> list[Video]:
    videos = load_mapped(path)
    if not isinstance(videos, dict | list):
        raise ValueError(f"{path}: expected a dict or list of videos, got a {type(videos).__name__}")
    keys = list(videos) if isinstance(videos, dict) else range(len(videos))
    return [Video(file, key, len(_parts(path, videos, key)[0])) for key in keys]


def _window(path: Path, key: str | int, frames: list[int]) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Pictures (T,3,H,W), points (T,N,2) and occlusion (T,N) of some frames of a video."""
    video, points, occluded = _parts(path, load_mapped(path), key)
    if isinstance(video, np.ndarray) and video.dtype == np.uint8:
        pictures = [video[t] for t in frames]
    else:
        pictures = [decode_frame(bytes(video[t]), f"{path}: frame {t} of video {key!r}") for t in frames]
        if len({picture.shape for picture in pictures}) != 1:
            raise ValueError(f"{path}: video {key!r} has frames of more than one size")
    return (
        as_video(pictures),
        points[:, frames].swapaxes(0, 1),
        occluded[:, frames].T > 0.5,
    )


def _parts(path: Path, videos: dict | list, key: str | int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Frames, points and occlusion of a video, whole, but not read yet."""
    try:
        video, points, occluded = (videos[key][name] for name in ("video", "points", "occluded"))
        lengths = {len(video), points.shape[1], occluded.shape[1]}
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: video {key!r} is no dict of video, points and occluded") from error
    if points.shape != (*occluded.shape, 2) or len(lengths) != 1:
        shapes = f"points {points.shape} and occluded {occluded.shape}"
        raise ValueError(f"{path}: video {key!r} has {len(video)} frames, but {shapes}")
    return video, points, occluded
