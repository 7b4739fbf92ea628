"""Queries read from text, and matches written as arrays."""

import csv
from dataclasses import fields
from math import isfinite
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retracker.inference.pair import Matches
from retracker.inference.verification import Geometry
from retracker.inference.warp import Warp
from retracker.media.files import archive_read, existing_file, replacing
from retracker.media.track_files import COLUMNS as TRACK_COLUMNS
from retracker.media.track_files import UNREADABLE

COLUMNS = ("t", "x", "y")
POSITION = ("x", "y")
COUNTS = MappingProxyType({2: "two", 3: "three"})  # how many numbers a line has, in words


def parse_points(text: str, columns: tuple[str, ...] = COLUMNS) -> Float[Tensor, "N columns"]:
    """Queries written as "t,x,y;t,x,y;..."; raises ValueError naming the one that is wrong."""
    parts = [part for part in text.split(";") if part.strip()]
    if not parts:
        one = ",".join(columns)
        raise ValueError(f'--points: expected "{one};{one};...", got nothing')
    rows = [_row(part.split(","), columns, f"--points, point {index}") for index, part in enumerate(parts)]
    return torch.tensor(rows, dtype=torch.float64)


def read_queries(path: str | Path, columns: tuple[str, ...] = COLUMNS) -> Float[Tensor, "N columns"]:
    """Queries from a CSV file with the columns t, x, y; a first line with these names may stand above.

    Or from the array ``queries`` of a .npz, such as ``retracker track`` writes.

    Raises ValueError naming the line that is wrong.
    """
    if Path(path).suffix.lower() == ".npz":
        return _queries_of_npz(existing_file(path), columns)
    rows = []
    try:
        with existing_file(path).open(newline="", encoding="utf-8-sig") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                empty = not any(cell.strip() for cell in cells)
                heading = not rows and tuple(cell.strip().lower() for cell in cells) == columns
                if not rows and tuple(cells) == TRACK_COLUMNS:
                    raise ValueError(f"{path}: holds tracks; the queries of that run are in its .npz")
                if not (empty or heading):
                    rows.append(_row(cells, columns, f"{path}, line {number}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a text file of queries ({','.join(columns)})") from error
    if not rows:
        raise ValueError(f"{path}: holds no queries, expected lines of {','.join(columns)}")
    return torch.tensor(rows, dtype=torch.float64)


def _queries_of_npz(path: Path, columns: tuple[str, ...]) -> Float[Tensor, "N columns"]:
    try:
        with archive_read(), np.load(path, allow_pickle=False) as stored:
            table = np.asarray(stored["queries"], dtype=np.float64)
    except UNREADABLE as error:
        raise ValueError(f"{path}: holds no array of queries ({','.join(columns)})") from error
    if table.ndim != 2 or table.shape[1] != len(columns) or not len(table):
        expected = f"expected queries of shape (N, {len(columns)}) = ({', '.join(columns)})"
        raise ValueError(f"{path}: {expected}, got {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"{path}: query {int(np.argwhere(~np.isfinite(table))[0, 0])} is not finite")
    return torch.from_numpy(table)


def read_film_size(path: Path) -> tuple[int, int] | None:
    """(height, width) of the video that the tracks of a .npz are of; None if it does not say."""
    try:
        with archive_read(), np.load(path, allow_pickle=False) as stored:
            height, width = stored["size"].tolist()
            return int(height), int(width)
    except UNREADABLE:
        return None


def write_matches_npz(
    path: Path, matches: Matches, images: tuple[str, str], sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    """All matches: points_a and points_b (M,2) px, confidence (M), index (M) of the points asked for, images
    (the two paths), size_a and size_b (height,width)."""
    _write_npz(path, _match_arrays(matches, images, sizes))


def write_verified_npz(
    path: Path,
    matches: Matches,
    images: tuple[str, str],
    sizes: tuple[tuple[int, int], tuple[int, int]],
    geometry: Geometry | None,
) -> None:
    """All matches, and inliers (M); if a geometry was found its kind, matrix, solver, threshold_px and, of an
    essential matrix, rotation and translation."""
    found = {} if geometry is None else {f.name: getattr(geometry, f.name) for f in fields(geometry)}
    known = {name: np.asarray(value) for name, value in found.items() if value is not None}
    nobody = {"inliers": np.zeros(len(matches), dtype=bool)}
    _write_npz(path, {**_match_arrays(matches, images, sizes), **nobody, **known})


def write_warp_npz(path: Path, warp: Warp, images: tuple[str, str]) -> None:
    """All of a warp: start (rows,columns,2) px of a, positions px of b, flow from the one to the other,
    certainty (rows,columns), images (the two paths), size_a and size_b (height,width)."""
    arrays = {name: getattr(warp, name).numpy() for name in ("start", "positions", "flow", "certainty")}
    sizes = {"size_a": np.array(warp.size_a), "size_b": np.array(warp.size_b)}
    _write_npz(path, {**arrays, **sizes, "images": np.array(images)})


def _match_arrays(
    matches: Matches, images: tuple[str, str], sizes: tuple[tuple[int, int], tuple[int, int]]
) -> dict[str, np.ndarray]:
    arrays = {field.name: getattr(matches, field.name).numpy() for field in fields(matches)}
    return arrays | {
        "images": np.array(images),
        "size_a": np.array(sizes[0]),
        "size_b": np.array(sizes[1]),
    }


def _write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)


def _row(cells: list[str], columns: tuple[str, ...], where: str) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = []
    if len(numbers) != len(columns):
        raise ValueError(
            f"{where}: expected {COUNTS[len(columns)]} numbers {','.join(columns)}, got {','.join(cells)!r}"
        )
    if not all(map(isfinite, numbers)):
        raise ValueError(f"{where}: expected finite numbers {','.join(columns)}, got {','.join(cells)!r}")
    return numbers
