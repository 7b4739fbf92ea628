"""The files of a data set under one root: a local folder, or any URL that fsspec knows."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.media.image import read_frame

T = TypeVar("T")


class Storage:
    """Reads files by their path below ``root``, such as ``train/ani/rgbs/rgb_00000.jpg``.

    With a cache, what ``array`` and ``video`` decode is kept on local disk; without one every call decodes.
    Raises FileNotFoundError, naming the root, if there is nothing.
    """

    def __init__(self, root: str, cache: DiskCache | None) -> None:
        self.root, self.cache = Path(root), cache
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")

    def where(self, path: str) -> str:
        """The full name of a file, for messages."""
        return str(self.root / path)

    def names(self, folder: str = "") -> tuple[str, ...]:
        """The names of the files and folders in ``folder``, sorted; none if it does not exist."""
        path = self.root / folder
        return tuple(sorted(child.name for child in path.iterdir())) if path.is_dir() else ()

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return (self.root / path).exists()

    def load(self, path: str, decode: Callable[[Path], T]) -> T:
        """What ``decode`` makes of the file, which it is given as a local path."""
        return decode(self.root / path)

    def array(self, path: str, decode: Callable[[Path], np.ndarray], label: str) -> np.ndarray:  # noqa: ARG002
        """An array that ``decode`` makes of the file. ``label`` tells it from others made of the same file.

        It may be mapped from disk, so that slicing it reads no more than the slice; it is read-only.
        """
        return self.load(path, decode)

    def video(self, paths: Sequence[str]) -> UInt8[Tensor, "T 3 H W"]:
        """Frames that are stored as one image each. Raises ValueError if they differ in size."""
        frames = [torch.from_numpy(np.array(self.array(path, read_frame, "rgb"))) for path in paths]
        for path, frame in zip(paths, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise ValueError(
                    f"{self.where(path)}: expected a frame of {tuple(frames[0].shape[:2])} (height, width) "
                    f"as in {PurePosixPath(paths[0]).name}, got {tuple(frame.shape[:2])}"
                )
        return torch.stack(frames).permute(0, 3, 1, 2).contiguous()

    def arrays(self, path: str, names: Sequence[str]) -> list[np.ndarray]:
        """Arrays of an .npz file by name. Raises ValueError, naming what is there, if one is missing."""
        return [self.array(path, partial(read_npz_array, name=name), name) for name in names]


def read_npz_array(path: Path, name: str) -> np.ndarray:
    """One array of an .npz file; pickled objects inside it are refused."""
    with np.load(path, allow_pickle=False) as file:
        if name not in file.files:
            raise ValueError(f"{path}: has no array {name!r}, only {', '.join(sorted(file.files)) or 'none'}")
        return file[name]


def npz_names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return tuple(file.files)
