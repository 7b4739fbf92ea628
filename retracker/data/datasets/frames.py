"""What many public sets of tracks share: per recording a folder of frames, and a file of labels beside it."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.storage import Storage
from retracker.types import VideoSample

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".gif")
ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")
DEPTH = 3  # folders between the place that is searched and a recording: a split, a chunk, an archive's name
SUFFIX = re.compile(r"\.[a-zA-Z]\w{0,4}$")  # of a file; folders may have dates in their names
NUMBERS = "biuf"  # kinds of dtype: what is true or false, whole, or real
LISTINGS = 16  # at once: a network file system answers many as fast as one


@dataclass(frozen=True)
class Clip:
    """Where one recording lies, below the root."""

    folder: str
    images: str  # the folder of its frames
    labels: str  # the file of its labels


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Labels as a file holds them, frames first, perhaps not in memory. What they mean is another matter."""

    tracks: np.ndarray  # T N 2, raster px, any float
    masks: dict[str, np.ndarray]  # T N each, any number


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """Labels in our terms."""

    visible: Bool[np.ndarray, "T N"]
    labelled: Bool[np.ndarray, "T N"] | None = None  # None: everywhere
    located: Bool[np.ndarray, "T N"] | None = None


class FrameFolders(Recordings, ABC):
    """Recordings of one file per frame. Of a window only its own frames are read, and only its labels copied.

    Reading raises ValueError if labels and frames differ in number, or arrays in shape.
    """

    def __init__(self, name: str, storage: Storage, clips: list[Clip]) -> None:
        self.name, self.storage, self.clips = name, storage, clips

    @abstractmethod
    def stored(self, path: str) -> Stored:
        """The labels in a file, whole."""

    @abstractmethod
    def meaning(self, masks: dict[str, np.ndarray]) -> Meaning:
        """What the masks of a window say."""

    def __len__(self) -> int:
        return len(self.clips)

    def num_frames(self, index: int) -> int:
        """As many as there are images."""
        return len(frame_names(self.storage, self.clips[index].images))

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames."""
        wanted = list(frames)
        images, stored = self.unread(index)
        meaning = self.meaning({name: mask[wanted] for name, mask in stored.masks.items()})
        return labelled_clip(
            self.storage.video([images[t] for t in wanted]),
            torch.from_numpy(stored.tracks[wanted].astype(np.float32)),
            torch.from_numpy(meaning.visible),
            labelled=_tensor(meaning.labelled),
            located=_tensor(meaning.located),
            name=f"{self.name}/{self.clips[index].folder}",
        )

    def unread(self, index: int) -> tuple[list[str], Stored]:
        """The paths of a recording's frames, and its labels as they are stored: nothing is left out or read
        before it is looked at."""
        clip = self.clips[index]
        images = [f"{clip.images}/{name}" for name in frame_names(self.storage, clip.images)]
        return images, self._checked(clip, len(images))

    def _checked(self, clip: Clip, num_images: int) -> Stored:
        stored = self.stored(clip.labels)
        shape = stored.tracks.shape
        if len(shape) != 3 or shape[2] != 2 or {mask.shape for mask in stored.masks.values()} != {shape[:2]}:
            found = ", ".join(f"{name} {mask.shape}" for name, mask in stored.masks.items())
            raise ValueError(
                f"{self.storage.where(clip.labels)}: expected tracks of (frames, points, 2) and masks of "
                f"(frames, points), got tracks {shape}, {found}"
            )
        kinds = {"tracks": stored.tracks.dtype} | {name: mask.dtype for name, mask in stored.masks.items()}
        wrong = [f"{name} of {dtype}" for name, dtype in kinds.items() if dtype.kind not in NUMBERS]
        if wrong:
            raise ValueError(f"{self.storage.where(clip.labels)}: expected numbers, got {', '.join(wrong)}")
        if shape[0] != num_images:
            raise ValueError(
                f"{self.storage.where(clip.labels)}: labels of {shape[0]} frames, "
                f"but {self.storage.where(clip.images)} has {num_images}"
            )
        return stored


def find_clips(
    storage: Storage, top: str, as_clip: Callable[[str, tuple[str, ...]], Clip | None], expected: str
) -> list[Clip]:
    """The recordings in ``top`` and the folders below it: what ``as_clip`` makes of a folder and its names.

    Other folders are passed over. Raises ValueError, naming what was ``expected``, if nothing is found.
    """
    clips, folders = [], [top]
    with ThreadPoolExecutor(LISTINGS) as pool:
        for _ in range(DEPTH + 1):
            listings = list(pool.map(storage.names, folders))
            found = [as_clip(folder, names) for folder, names in zip(folders, listings, strict=True)]
            clips += [clip for clip in found if clip is not None]
            folders = [
                f"{folder}/{name}".lstrip("/")
                for folder, names, clip in zip(folders, listings, found, strict=True)
                if clip is None
                for name in names
                if may_be_folder(name)
            ]
    if not clips:
        archives = [name for name in storage.names(top) if name.endswith(ARCHIVES)]
        also = f"; it has archives such as {archives[0]}: unpack them first" if archives else ""
        raise ValueError(f"{storage.where(top)}: expected {expected}, found none{also}")
    return sorted(clips, key=lambda clip: clip.folder)


def beside(images: str, *labels: str) -> Callable[[str, tuple[str, ...]], Clip | None]:
    """Recordings of a folder ``images`` and a file named as one of ``labels``, the first that there is."""

    def as_clip(folder: str, names: tuple[str, ...]) -> Clip | None:
        there = [label for label in labels if label in names]
        if images not in names or not there:
            return None
        return Clip(folder, f"{folder}/{images}".lstrip("/"), f"{folder}/{there[0]}".lstrip("/"))

    return as_clip


def frame_names(storage: Storage, folder: str) -> list[str]:
    """The images in a folder, by their numbers; none if it does not exist."""
    names = [name for name in storage.names(folder) if name.lower().endswith(IMAGES) and name[0] != "."]
    return sorted(names, key=lambda name: (len(name), name))  # 9.png comes before 10.png


def may_be_folder(name: str) -> bool:
    """Whether it is worth asking: nothing hidden, and not with a file's suffix."""
    return name[0] != "." and not SUFFIX.search(name)


def told(mask: Shaped[np.ndarray, "T N"]) -> Bool[np.ndarray, "T N"]:
    """A mask of bool, whatever number it is stored as."""
    return mask > 0.5


def _tensor(mask: Bool[np.ndarray, "T N"] | None) -> Bool[Tensor, "T N"] | None:
    return None if mask is None else torch.from_numpy(mask)
