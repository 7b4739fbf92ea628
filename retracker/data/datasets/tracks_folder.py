"""Your own videos with tracks: beside each ``<clip>.npz`` a video file or a folder of frames of that name.

    <root>/kitchen.npz  kitchen.mp4
    <root>/street/07.npz  street/07/000.png 001.png ...

The npz holds ``tracks`` (T,N,2), raster pixels of the video, ``visible`` (T,N) bool, and, where they are not
all known, ``labelled`` (is visibility known) and ``located`` (is the position known), (T,N) bool.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import VIDEOS, frame_names, may_be_folder, told
from retracker.data.npz import npz_names
from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.storage import Storage
from retracker.media.video import count_frames, read_frames
from retracker.types import VideoSample

LABELS = ".npz"
NEEDED, OPTIONAL = ("tracks", "visible"), ("labelled", "located")


class TracksFolder(Recordings):
    """Every labelled clip under ``root``, at any depth. Raises ValueError if there is none."""

    def __init__(self, root: str, cache: DiskCache | None = None) -> None:
        self.storage = Storage(root, cache)
        self.clips = list(_find(self.storage, ""))
        if not self.clips:
            raise ValueError(
                f"{root}: has no <clip>.npz with a video ({' '.join(VIDEOS)}) or folder of frames of its name"
            )

    def __len__(self) -> int:
        return len(self.clips)

    def scene(self, index: int) -> str:
        """The folder that the clip lies in."""
        return str(PurePosixPath(self.clips[index][0]).parent)

    def num_frames(self, index: int) -> int:
        """As many as there are images, or pictures in the video file."""
        _, video = self.clips[index]
        images = frame_names(self.storage, video)
        return len(images) if images else self.storage.load(video, count_frames)

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError if labels and frames differ in number, or arrays in shape."""
        clip, video = self.clips[index]
        labels = self._labels(clip + LABELS)
        num_labels, num_frames = len(labels["tracks"]), self.num_frames(index)
        if num_labels != num_frames:
            raise ValueError(
                f"{self.storage.where(clip + LABELS)}: tracks of {num_labels} frames "
                f"beside a video of {num_frames}"
            )
        wanted = list(frames)
        masks = {
            name: torch.from_numpy(told(mask[wanted])) for name, mask in labels.items() if name != "tracks"
        }
        return labelled_clip(
            self._video(video, wanted),
            torch.from_numpy(labels["tracks"][wanted].astype(np.float32)),
            name=f"tracks_folder/{clip}",
            **masks,
        )

    def _labels(self, path: str) -> dict[str, np.ndarray]:
        there = self.storage.load(path, npz_names)
        names = [*NEEDED, *(name for name in OPTIONAL if name in there)]
        labels = dict(zip(names, self.storage.arrays(path, names), strict=True))
        shape = labels["tracks"].shape
        masks = {labels[name].shape for name in names[1:]}
        if (
            shape[2:] != (2,)
            or masks != {shape[:2]}
            or any(x.dtype.kind not in "biuf" for x in labels.values())
        ):
            found = ", ".join(f"{name} {array.shape} {array.dtype}" for name, array in labels.items())
            raise ValueError(
                f"{self.storage.where(path)}: expected tracks (T,N,2) and all else (T,N), "
                f"numbers or bool, got {found}"
            )
        return labels

    def _video(self, video: str, frames: Sequence[int]) -> Tensor:
        images = frame_names(self.storage, video)
        if images:
            return self.storage.video([f"{video}/{images[t]}" for t in frames])
        return self.storage.load(video, partial(read_frames, frames=frames))


def _find(storage: Storage, folder: str) -> Iterator[tuple[str, str]]:
    """(labels without suffix, video file or folder of frames) of every clip below ``folder``."""
    names = [name for name in storage.names(folder) if not name.startswith(".")]
    there = set(names)
    videos = {PurePosixPath(name).stem: name for name in reversed(names) if name.lower().endswith(VIDEOS)}
    for name in names:
        path = f"{folder}/{name}".lstrip("/")
        stem = name.removesuffix(LABELS)
        video = stem if stem in there else videos.get(stem)
        if stem != name and video is not None:
            yield path.removesuffix(LABELS), f"{folder}/{video}".lstrip("/")
        elif f"{name}{LABELS}" not in there and may_be_folder(name):
            yield from _find(storage, path)
