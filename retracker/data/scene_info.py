"""The index files of MegaDepth and its kin: which views of a scene overlap, with their cameras.

Three layouts, pickles of one kind or another (see safe_pickle.py), each of n views:

    LoFTR   .npz   image_paths, depth_paths, intrinsics, poses, pair_infos [((i, j), overlap, ...), ...]
    DKM     .npy   the same, but pairs [M, 2] and overlaps [M] for pair_infos
    D2-Net  .npz   the same, but overlap_matrix and scale_ratio_matrix [n, n]; much more that is not read

Intrinsics are those of the image as it is stored, in raster pixels (COLMAP's); poses are world -> camera;
paths lie below ``dataset_name`` where a file has one. A view without a path (None) is of no use.
"""

import gc
import io
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from retracker.data import safe_pickle
from retracker.data.storage import Storage
from retracker.media.files import BROKEN_ARCHIVE, archive_read

SUFFIXES = (".npz", ".npy")
OVERLAP_BIN = re.compile(r"_\d\.\d+_\d\.\d+$")  # LoFTR splits a scene: 0015_0.1_0.3, 0015_0.3_0.5
D2_NET_PARTS = ("image_paths", "depth_paths", "intrinsics", "poses", "overlap_matrix", "scale_ratio_matrix")


@dataclass(frozen=True, kw_only=True)
class IndexFiles:
    """Which index files of a data set are used, and which of their pairs."""

    folder: str  # below the root
    scenes: str | None  # a text file that names them, one a line; None: all in the folder
    without: Sequence[str]  # places that are left out, in all their overlap bins
    min_overlap: float | int
    max_overlap: float | int
    max_pairs: int | None  # of one file, spread evenly over it; None: all

    def __post_init__(self) -> None:
        if not self.min_overlap <= self.max_overlap or (self.max_pairs is not None and self.max_pairs < 1):
            raise ValueError(
                f"index: expected min_overlap <= max_overlap and max_pairs of at least 1, "
                f"got {self.min_overlap}, {self.max_overlap} and {self.max_pairs}"
            )
        # As a number, 0015 is another scene, and would be trained on.
        words = not isinstance(self.without, str) and isinstance(self.without, Sequence)
        if not words or not all(isinstance(place, str) for place in self.without):
            raise ValueError(f"index.without: expected a list of names in quotes, got {self.without!r}")


@dataclass(frozen=True, kw_only=True)
class SceneInfo:
    """The views of one index file that some pair uses, and those pairs: arrays, which all workers share."""

    images: np.ndarray  # V, bytes: paths below the root of the images
    depths: np.ndarray  # V, bytes
    intrinsics: np.ndarray  # V 3 3, float64
    poses: np.ndarray  # V 4 4, float64
    pairs: np.ndarray  # M 2, int32: which views


def read_index(
    storage: Storage, index: IndexFiles, read: Callable[[Path, IndexFiles], SceneInfo], label: str
) -> list[tuple[str, SceneInfo]]:
    """The place and the pairs of every index file, by ``read``; ``label`` tells it from others in the cache.

    Raises ValueError if there is no file, FileNotFoundError if one of the list is missing.
    """
    stems = _stems(storage, index)
    files = [name for name in storage.names(index.folder) if name.endswith(SUFFIXES)]
    there = {PurePosixPath(name).stem: name for name in files}
    stems = [stem for stem in stems or there if _place(stem) not in index.without]
    missing = [stem for stem in stems if stem not in there]
    if missing:
        raise FileNotFoundError(f"{storage.where(index.folder)}: has no index of scene {missing[0]}")
    if not stems:
        raise ValueError(f"{storage.where(index.folder)}: has no index of pairs (<scene>.npz or .npy)")
    label = f"{label} {index.min_overlap} {index.max_overlap} {index.max_pairs}"
    decode = partial(_packed, read=read, index=index)
    with _without_garbage_collection():
        arrays = [storage.array(f"{index.folder}/{there[stem]}", decode, label) for stem in stems]
    return [(_place(stem), _unpacked(array)) for stem, array in zip(stems, arrays, strict=True)]


def read_pair_infos(path: Path, index: IndexFiles) -> SceneInfo:
    """An index of LoFTR or DKM."""
    content = safe_pickle.load(path)
    try:
        if "pair_infos" in content:
            infos = content["pair_infos"]
            pairs = np.array([tuple(info[0]) for info in infos], np.int64).reshape(-1, 2)
            overlaps = np.array([info[1] for info in infos], np.float64)
        else:
            pairs = np.asarray(content["pairs"], np.int64).reshape(-1, 2)
            overlaps = np.asarray(content["overlaps"], np.float64)
        chosen = pairs[(overlaps >= index.min_overlap) & (overlaps <= index.max_overlap)]
        return _compact(content, chosen, index.max_pairs)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no index of LoFTR or DKM ({_reason(error)})") from error


def read_overlap_matrix(path: Path, index: IndexFiles, max_scale_ratio: float | int) -> SceneInfo:
    """A scene of D2-Net. An overlap is a share of view i, so that of (i, j) is not that of (j, i).

    A pair is used if one view is no more than ``max_scale_ratio`` times closer than the other.
    """
    content = _parts(path, D2_NET_PARTS)
    try:
        overlap = np.asarray(content["overlap_matrix"], np.float64)
        ratio = np.asarray(content["scale_ratio_matrix"], np.float64)
        fine = (overlap >= index.min_overlap) & (overlap <= index.max_overlap)
        np.fill_diagonal(fine, val=False)
        fine &= (ratio <= max_scale_ratio) & (ratio * max_scale_ratio >= 1)
        return _compact(content, np.argwhere(fine), index.max_pairs)
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: is no scene of D2-Net ({_reason(error)})") from error


def _stems(storage: Storage, index: IndexFiles) -> list[str]:
    """The scenes that the list names, with or without a suffix; none without a list."""
    if not index.scenes:
        return []
    try:
        lines = storage.load(index.scenes, Path.read_text).splitlines()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{storage.where(index.scenes)}: no such list of scenes (index.scenes=null takes all of "
            f"{index.folder})"
        ) from error
    stems = [line.split()[0].removesuffix(".npz") for line in lines if line.strip()]
    if not stems:
        raise ValueError(f"{storage.where(index.scenes)}: names no scene")
    return stems


def _place(stem: str) -> str:
    return OVERLAP_BIN.sub("", stem)


def _compact(content: Mapping[str, Any], pairs: np.ndarray, max_pairs: int | None) -> SceneInfo:
    """Pairs of views that have files, at most so many; without the views that none of them uses."""
    images, depths = content["image_paths"], content["depth_paths"]
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(images):
        raise ValueError(f"pairs of views {pairs.min()} to {pairs.max()} among {len(images)}")
    usable = np.array([None not in files for files in zip(images, depths, strict=True)], bool)
    pairs = pairs[usable[pairs].all(1)] if pairs.size else pairs.reshape(0, 2)
    if max_pairs is not None and len(pairs) > max_pairs:
        pairs = pairs[np.linspace(0, len(pairs) - 1, max_pairs).astype(int)]
    used, renumbered = np.unique(pairs, return_inverse=True)
    folder = str(content.get("dataset_name", ""))
    return SceneInfo(
        images=_paths(folder, [images[view] for view in used]),
        depths=_paths(folder, [depths[view] for view in used]),
        intrinsics=_cameras([content["intrinsics"][view] for view in used], 3),
        poses=_cameras([content["poses"][view] for view in used], 4),
        pairs=renumbered.reshape(-1, 2).astype(np.int32),
    )


def _paths(folder: str, paths: Sequence[Any]) -> np.ndarray:
    return np.array([f"{folder}/{path}".lstrip("/").encode() for path in paths], np.bytes_)


def _cameras(matrices: Sequence[Any], side: int) -> np.ndarray:
    numbers = [np.asarray(matrix, np.float64).reshape(side, side) for matrix in matrices]
    return np.array(numbers, np.float64).reshape(-1, side, side)


def _parts(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Some arrays of an .npz: D2-Net's files hold millions of points beside them."""
    try:
        with archive_read(), zipfile.ZipFile(path) as archive:
            members = {name: archive.read(f"{name}.npy") for name in names}
    except (*BROKEN_ARCHIVE, KeyError) as error:
        raise ValueError(f"{path}: is no scene of D2-Net ({_reason(error)})") from error
    return {name: safe_pickle.loads(content, f"{path}/{name}") for name, content in members.items()}


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """An index is millions of small objects without cycles: looking for them takes 40 % of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _packed(path: Path, read: Callable[[Path, IndexFiles], SceneInfo], index: IndexFiles) -> np.ndarray:
    """What was read as one array of bytes, which the cache can keep: unpickling is what takes long."""
    buffer = io.BytesIO()
    np.savez(buffer, **asdict(read(path, index)))
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _unpacked(packed: np.ndarray) -> SceneInfo:
    with np.load(io.BytesIO(packed.tobytes()), allow_pickle=False) as arrays:
        return SceneInfo(**arrays)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
