"""Your own videos with tracks: beside each ``<clip>.npz`` a video file or a folder of frames of that name.

    <root>/kitchen.npz  kitchen.mp4
    <root>/street/07.npz  street/07/000.png 001.png ...

The npz holds ``tracks`` (T,N,2), raster pixels of the video, ``visible`` (T,N) bool, and, where they are not
all known, ``labelled`` (is visibility known) and ``located`` (is the position known), (T,N) bool.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath

import torch
from jaxtyping import Bool
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.npz import npz_names
from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.storage import Storage
from retracker.media.video import count_frames, read_frames
from retracker.types import VideoSample

LABELS = ".npz"
IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class TracksFolder(Recordings):
    """Every labelled clip under ``root``, at any depth. Raises ValueError if there is none."""

    def __init__(self, root: str, cache: DiskCache | None = None) -> None:
        self.storage = Storage(root, cache)
        self.clips = list(_find(self.storage, ""))
        if not self.clips:
            raise ValueError(f"{root}: has no <clip>.npz with a video or a folder of frames of the same name")

    def __len__(self) -> int:
        return len(self.clips)

    def scene(self, index: int) -> str:
        """The folder that the clip lies in."""
        return str(PurePosixPath(self.clips[index][0]).parent)

    def num_frames(self, index: int) -> int:
        """As many as there are images, or pictures in the video file."""
        _, video = self.clips[index]
        images = _images(self.storage, video)
        return len(images) if images else self.storage.load(video, count_frames)

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError if labels and frames differ in number, or arrays in shape."""
        labels, video = self.clips[index]
        tracks, visible = self.storage.arrays(labels + LABELS, ("tracks", "visible"))
        if len(tracks) != self.num_frames(index):
            raise ValueError(
                f"{self.storage.where(labels + LABELS)}: tracks of {len(tracks)} frames "
                f"beside a video of {self.num_frames(index)}"
            )
        return labelled_clip(
            self._video(video, frames),
            torch.tensor(tracks[list(frames)]).float(),
            torch.tensor(visible[list(frames)]).bool(),
            labelled=self._mask(labels, "labelled", frames),
            located=self._mask(labels, "located", frames),
            name=f"tracks_folder/{labels}",
        )

    def _mask(self, labels: str, name: str, frames: Sequence[int]) -> Bool[Tensor, "T N"] | None:
        if name not in self.storage.load(labels + LABELS, npz_names):
            return None
        (mask,) = self.storage.arrays(labels + LABELS, (name,))
        return torch.tensor(mask[list(frames)]).bool()

    def _video(self, video: str, frames: Sequence[int]) -> Tensor:
        images = _images(self.storage, video)
        if images:
            return self.storage.video([f"{video}/{images[t]}" for t in frames])
        return self.storage.load(video, partial(read_frames, frames=frames))


def _find(storage: Storage, folder: str) -> Iterator[tuple[str, str]]:
    """(labels without suffix, video file or folder of frames) of every clip below ``folder``."""
    names = storage.names(folder)
    labels = {name for name in names if name.endswith(LABELS)}
    videos = {PurePosixPath(name).stem: name for name in reversed(names) if name not in labels}
    for name in names:
        path = f"{folder}/{name}".lstrip("/")
        stem = name.removesuffix(LABELS)
        if name in labels:
            if stem in videos:
                yield path.removesuffix(LABELS), f"{folder}/{videos[stem]}".lstrip("/")
        elif f"{name}{LABELS}" not in labels and "." not in name:
            yield from _find(storage, path)


def _images(storage: Storage, folder: str) -> tuple[str, ...]:
    return tuple(name for name in storage.names(folder) if name.lower().endswith(IMAGES))
