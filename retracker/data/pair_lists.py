"""Lists of posed pairs without depth, which relative poses are evaluated on.

    SuperGlue  .txt  38 fields a line: both paths, both turns, both cameras [9], pose of 0 to 1 [16], by rows
    ours       .npz  the same as a pickled dict of LoFTR's kind, two views a pair: see tools/make_yfcc1500.py

A turn is what EXIF says: by how many quarters numpy.rot90 sets the stored image upright. The camera is that
of the stored image, and counts pixel indices: the upper-left pixel's centre is (0, 0).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float64

from retracker.data import safe_pickle
from retracker.media.files import existing_file

FIELDS = 38
PACKED = ("image_paths", "intrinsics", "poses", "pair_infos")
ROUNDING = 1e-2  # of a rotation's determinant: some lists were written with few digits
INDICES_TO_RASTER = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True, kw_only=True)
class ListedView:
    """One side of a pair."""

    path: str  # below the folder of the images
    turns: int  # 0 to 3, for numpy.rot90
    intrinsics: Float64[np.ndarray, "3 3"]  # of the stored image, by pixel indices as in the file

    @property
    def raster_intrinsics(self) -> Float64[np.ndarray, "3 3"]:
        """The same in our pixels."""
        return self.intrinsics + INDICES_TO_RASTER

    @property
    def stem(self) -> str:
        """The name of the file."""
        return PurePosixPath(self.path).stem


@dataclass(frozen=True, kw_only=True)
class ListedPair:
    """Two views, and the motion from the camera frame of view 0 to that of view 1."""

    view0: ListedView
    view1: ListedView
    pose_0to1: Float64[np.ndarray, "4 4"]  # of the stored images' cameras

    @property
    def scene(self) -> str:
        """The first folder of the path."""
        return PurePosixPath(self.view0.path).parts[0]


def read_pairs(path: Path) -> list[ListedPair]:
    """The pairs of a list of either kind, told by the suffix. Raises ValueError, naming it, if it is none."""
    pairs = _read_packed(path) if path.suffix == ".npz" else _read_lines(path)
    if not pairs:
        raise ValueError(f"{path}: lists no pair")
    return pairs


def _read_lines(path: Path) -> list[ListedPair]:
    try:
        lines = existing_file(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected lines of text with {FIELDS} fields, got other bytes") from error
    return [
        _parsed(line.split(), f"{path}: line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parsed(fields: list[str], where: str) -> ListedPair:
    if len(fields) != FIELDS:
        raise ValueError(f"{where}: expected {FIELDS} fields, got {len(fields)}")
    try:
        turns = [int(field) for field in fields[2:4]]
        numbers = np.array([float(field) for field in fields[4:]])
    except ValueError as error:
        raise ValueError(f"{where}: expected numbers behind both paths ({error})") from error
    cameras = numbers[:18].reshape(2, 3, 3)
    return _checked(fields[:2], turns, cameras, numbers[18:].reshape(4, 4), where)


def _read_packed(path: Path) -> list[ListedPair]:
    content = safe_pickle.load(path)
    missing = [name for name in PACKED if not isinstance(content, Mapping) or name not in content]
    if missing:
        raise ValueError(f"{path}: expected a dict of pairs and views, which has no {missing[0]}")
    pairs = []
    for number, info in enumerate(content["pair_infos"]):
        where = f"{path}: pair {number}"
        try:
            parts = _unpacked(content, info)
        except (LookupError, TypeError, ValueError) as error:  # a singular pose is a ValueError, too
            raise ValueError(f"{where}: is no pair of two views with cameras and poses ({error})") from error
        pairs.append(_checked(*parts, where))
    return pairs


def _unpacked(
    content: Mapping[str, Any], info: Sequence
) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
    views = [int(view) for view in info[0]]
    paths = [str(content["image_paths"][view]) for view in views]
    turns = [int(content["exif_rot"][view]) if "exif_rot" in content else 0 for view in views]
    cameras = np.array([content["intrinsics"][view] for view in views], np.float64).reshape(2, 3, 3)
    poses = np.array([content["poses"][view] for view in views], np.float64).reshape(2, 4, 4)
    return paths, turns, cameras, poses[1] @ np.linalg.inv(poses[0])


def _checked(
    paths: list[str], turns: list[int], cameras: np.ndarray, pose_0to1: np.ndarray, where: str
) -> ListedPair:
    if not all(0 <= turn <= 3 for turn in turns):
        raise ValueError(f"{where}: expected turns of 0 to 3 quarters, got {turns[0]} and {turns[1]}")
    known = np.isfinite(cameras).all() and np.isfinite(pose_0to1).all()
    if not known or (cameras[:, [0, 1], [0, 1]] <= 0).any() or (cameras[:, 2] != [0, 0, 1]).any():
        raise ValueError(f"{where}: expected cameras [f 0 c; 0 f c; 0 0 1] and a pose, all finite")
    if not np.allclose(pose_0to1[3], [0, 0, 0, 1]) or abs(np.linalg.det(pose_0to1[:3, :3]) - 1) > ROUNDING:
        raise ValueError(f"{where}: expected a rigid pose, 4 x 4")
    if not pose_0to1[:3, 3].any():
        raise ValueError(f"{where}: both views are taken from one place: there is no direction to find")
    view0, view1 = (
        ListedView(path=path, turns=turn, intrinsics=camera)
        for path, turn, camera in zip(paths, turns, cameras, strict=True)
    )
    return ListedPair(view0=view0, view1=view1, pose_0to1=pose_0to1)
