"""Queries read from text, and tracks written as arrays and tables."""

import csv
from math import isfinite
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retracker.inference.clip import TrackResult
from retracker.inference.pair import Matches
from retracker.media.files import existing_file, replacing

COLUMNS = ("t", "x", "y")


def parse_points(text: str) -> Float[Tensor, "N 3"]:
    """Queries written as "t,x,y;t,x,y;..."; raises ValueError naming the one that is wrong."""
    parts = [part for part in text.split(";") if part.strip()]
    if not parts:
        raise ValueError('--points: expected "t,x,y;t,x,y;...", got nothing')
    rows = [_row(part.split(","), f"--points, point {index}") for index, part in enumerate(parts)]
    return torch.tensor(rows, dtype=torch.float64)


def read_queries(path: str | Path) -> Float[Tensor, "N 3"]:
    """Queries from a CSV file with the columns t, x, y; a first line with these names may stand above.

    Raises ValueError naming the line that is wrong.
    """
    rows = []
    try:
        with existing_file(path).open(newline="", encoding="utf-8-sig") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                empty = not any(cell.strip() for cell in cells)
                heading = not rows and tuple(cell.strip().lower() for cell in cells) == COLUMNS
                if not (empty or heading):
                    rows.append(_row(cells, f"{path}, line {number}"))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is not a text file of queries (t,x,y)") from error
    if not rows:
        raise ValueError(f"{path}: holds no queries, expected lines of t,x,y")
    return torch.tensor(rows, dtype=torch.float64)


def write_tracks_npz(path: Path, result: TrackResult, queries: Float[Tensor, "N 3"], video: str) -> None:
    """All of a result: tracks, visible, confidence, queries (t,x,y), fps, size (height,width), video."""
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            tracks=result.tracks.numpy(),
            visible=result.visible.numpy(),
            confidence=result.confidence.numpy(),
            queries=queries.numpy(),
            fps=np.float64(result.fps),
            size=np.array(result.size),
            video=np.array(video),
        )


def write_tracks_csv(path: Path, result: TrackResult) -> None:
    """One line per frame and point: frame,id,x,y,visible,confidence; positions in px."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("frame", "id", "x", "y", "visible", "confidence"))
        for t, frame in enumerate(zip(result.tracks, result.visible, result.confidence, strict=True)):
            points = zip(*(values.tolist() for values in frame), strict=True)
            for n, ((x, y), visible, confidence) in enumerate(points):
                writer.writerow((t, n, f"{x:.3f}", f"{y:.3f}", int(visible), f"{confidence:.4f}"))


def write_matches_npz(path: Path, matches: Matches, images: tuple[str, str]) -> None:
    """All matches: points_a and points_b (M,2) px, confidence (M), images (the two paths)."""
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            points_a=matches.points_a.numpy(),
            points_b=matches.points_b.numpy(),
            confidence=matches.confidence.numpy(),
            images=np.array(images),
        )


def _row(cells: list[str], where: str) -> list[float]:
    try:
        numbers = [float(cell) for cell in cells]
    except ValueError:
        numbers = []
    if len(numbers) != len(COLUMNS):
        raise ValueError(f"{where}: expected three numbers t,x,y, got {','.join(cells)!r}")
    if not all(map(isfinite, numbers)):
        raise ValueError(f"{where}: expected finite numbers t,x,y, got {','.join(cells)!r}")
    return numbers
