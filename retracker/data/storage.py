"""The files of a data set under one root: a local folder, or any URL that fsspec knows."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import cv2
import numpy as np
import torch
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from jaxtyping import UInt8
from numpy.lib import format as npy
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.npz import read_npz_array
from retracker.media.files import existing_file
from retracker.media.image import read_frame

T = TypeVar("T")

DECODERS = 1  # raise it when a decoder gives something else for the same file: caches outlive versions
DAMAGE = (EOFError, MemoryError, zlib.error, zipfile.BadZipFile)  # memory: a header that asks for too much


class Storage:
    """Reads files by their path below ``root``, such as ``train/ani/rgbs/rgb_00000.jpg``.

    ``root`` is a local folder or a URL, such as ``s3://bucket/folder`` or ``zip://folder::file.zip``, whose
    files are taken never to change. With a cache, files that are fetched and what ``array`` and ``video``
    decode are kept on local disk; without one every call fetches and decodes.
    Raises FileNotFoundError or ValueError, naming the root, if there is nothing or no way to it.
    """

    def __init__(self, root: str, cache: DiskCache | None) -> None:
        root = root.removeprefix("file://")
        self.files = Remote(root) if "://" in root or "::" in root else Local(root)
        self.cache = cache or DiskCache(folder="", limit_gb=0)

    def where(self, path: str) -> str:
        """The full name of a file, for messages."""
        return self.files.where(path)

    def names(self, folder: str = "") -> tuple[str, ...]:
        """The names of the files and folders in ``folder``, sorted; none if it does not exist."""
        return tuple(sorted(self.files.names(folder)))

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""
        return self.files.exists(path)

    def load(self, path: str, decode: Callable[[Path], T]) -> T:
        """What ``decode`` makes of the file, which it is given as a local path.

        Errors name the file. Raises FileNotFoundError if it is missing, ValueError if it is damaged.
        """

        def decoded(local: Path) -> T:
            with _naming(self.where(path), local):
                return decode(local)

        if isinstance(self.files, Local):
            return decoded(self.files.root / path)
        key = f"fetched\n{self.where(path)}\n{PurePosixPath(path).suffix}"
        return self.cache.get(key, partial(self.files.fetch, path), decoded)

    def array(self, path: str, decode: Callable[[Path], np.ndarray], label: str) -> np.ndarray:
        """An array that ``decode`` makes of the file. ``label`` tells it from others made of the same file.

        It may be mapped from disk, so that slicing it reads no more than the slice; it is read-only.
        """
        if not self.cache.limit:
            return _read_only(self.load(path, decode))
        key = f"decoded {DECODERS}\n{self.files.identity(path)}\n{label}\n.npy"
        return self.cache.get(key, partial(self._write_decoded, path, decode), map_array)

    def _write_decoded(self, path: str, decode: Callable[[Path], np.ndarray], entry: Path) -> None:
        with _naming(self.where(path), entry):
            write_array(entry, self.load(path, decode))

    def video(
        self, paths: Sequence[str], prepare: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> UInt8[Tensor, "T 3 H W"]:
        """Frames that are stored as one image each; ``prepare`` may change each of them (H,W,3) as it comes,
        so that no more than its result is kept. Raises ValueError if they differ in size."""
        first = self.array(paths[0], read_frame, "rgb")  # H W 3
        shown = first if prepare is None else prepare(first)
        video = np.empty((len(paths), 3, *shown.shape[:2]), np.uint8)
        for t, path in enumerate(paths):
            frame = first if t == 0 else self.array(path, read_frame, "rgb")
            if frame.shape != first.shape:
                raise ValueError(
                    f"{self.where(path)}: expected a frame of {tuple(first.shape[:2])} (height, width) "
                    f"as in {PurePosixPath(paths[0]).name}, got {tuple(frame.shape[:2])}"
                )
            cv2.split(
                frame if prepare is None else prepare(frame), list(video[t])
            )  # numpy's copy: 3 x as long
        return torch.from_numpy(video)

    def arrays(self, path: str, names: Sequence[str]) -> list[np.ndarray]:
        """Arrays of an .npz file by name. Raises ValueError, naming what is there, if one is missing."""
        return [self.array(path, partial(read_npz_array, name=name), name) for name in names]


class Local:
    """A folder of this machine."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")

    def where(self, path: str) -> str:
        return str(self.root / path)

    def names(self, folder: str) -> list[str]:
        try:
            return os.listdir(self.root / folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def identity(self, path: str) -> str:
        """What changes when the file does."""
        file = existing_file(self.root / path)
        return f"{file.absolute()} {file.stat().st_size} {file.stat().st_mtime_ns}"


class Remote:
    """What a URL stands for. fsspec keeps one connection for each process and thread, and its listings."""

    def __init__(self, url: str) -> None:
        self.url = url.replace("*::", "::")  # zip://*::file.zip means all of it
        try:
            files, root = self._open()
            found = files.isdir(root)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{url}: cannot be opened ({_first_line(error)})") from error
        except OSError as error:
            raise OSError(f"{url}: cannot be reached ({_first_line(error)})") from error
        if not found:
            raise FileNotFoundError(f"{url}: no such folder")

    def where(self, path: str) -> str:
        # simplecache::zip://folder::file.zip: the path goes behind the first part that has one.
        layers = self.url.split("::")
        layer = next(i for i, text in enumerate(layers) if "://" in text or i == len(layers) - 1)
        slash = "/" if path and not layers[layer].endswith("/") else ""
        return "::".join([*layers[:layer], f"{layers[layer]}{slash}{path}", *layers[layer + 1 :]])

    def names(self, folder: str) -> list[str]:
        files, root = self._open(folder)
        try:
            found = files.ls(root, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        # Some file systems list a file, or a folder itself among what is in it.
        below = [path.rstrip("/") for path in found]
        return list({PurePosixPath(path).name for path in below if path.strip("/") != root.strip("/")})

    def exists(self, path: str) -> bool:
        files, place = self._open(path)
        return files.exists(place)

    def identity(self, path: str) -> str:
        return self.where(path)

    def fetch(self, path: str, local: Path) -> None:
        files, place = self._open(path)
        where = self.where(path)
        try:
            with _naming(where, place):
                files.get_file(place, str(local))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{where}: no such file") from error
        if not local.exists():  # as some file systems answer for a folder
            raise FileNotFoundError(f"{where}: is a folder, expected a file")

    def _open(self, path: str = "") -> tuple[AbstractFileSystem, str]:
        files, root = url_to_fs(self.url)
        return files, f"{root}/{path}".rstrip("/") if root.strip("/") else path


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array for ``map_array``. Raises ValueError if it holds objects."""
    array = np.asarray(array, order="C")
    if array.dtype.hasobject:
        raise ValueError(f"expected an array of numbers or text, got one of {array.dtype}")
    with path.open("wb") as file:  # by write: numpy's tofile hides that the disk is full
        npy.write_array_header_2_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.reshape(-1).view(np.uint8) if array.nbytes else b"")


def map_array(path: Path) -> np.ndarray:
    """An array that ``write_array`` wrote, mapped from disk."""
    return np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.view()
    array.flags.writeable = False  # as a mapped one is: who writes into it learns so without a cache, too
    return array


@contextmanager
def _naming(where: str, local: str | Path) -> Iterator[None]:
    """Let errors name a file as ``where``, not by its local copy; make damage of any kind a ValueError."""
    try:
        yield
    except DAMAGE as error:
        raise ValueError(f"{where}: is damaged ({_first_line(error)})") from error
    except (OSError, ValueError) as error:
        said = _first_line(error)
        said = said if where in said else said.replace(str(local), where)
        said = said if where in said else f"{where}: {said}"
        if said == str(error):
            raise
        if isinstance(error, ValueError):
            kind = type(error) if error.args == (str(error),) else ValueError  # UnicodeDecodeError has five
            raise kind(said) from error
        renamed = FileNotFoundError(said) if isinstance(error, FileNotFoundError) else OSError(said)
        renamed.errno = error.errno  # the cache knows a full disk by it
        raise renamed from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
