"""Tracks on disk: everything in one .npz, a long .csv, or the .csv that DeepLabCut's tools read."""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from retracker.media.files import BROKEN_ARCHIVE, archive_read, existing_file, replacing
from retracker.types import TrackResult

COLUMNS = ("frame", "id", "x", "y", "visible", "confidence", "time")
# Whatever numpy, zip and csv say of a file that is broken, or something else.
UNREADABLE = (
    ValueError,
    KeyError,
    TypeError,
    *BROKEN_ARCHIVE,
    csv.Error,
)
SCORER = "retracker"  # DeepLabCut's word for who has labelled


def write_tracks_npz(path: Path, result: TrackResult, queries: Float[Tensor, "N 3"], video: str) -> None:
    """All of a result: tracks, visible, confidence, queries (t,x,y), fps, times (s) and frames (their numbers
    in the video) of the tracks, size (height,width), video.

    What is not known is left out.
    """
    arrays = {
        "tracks": result.tracks.numpy(),
        "visible": result.visible.numpy(),
        "confidence": result.confidence.numpy(),
        "queries": queries.numpy(),
        "fps": None if result.fps is None else np.float64(result.fps),
        "times": None if result.times is None else result.times.numpy(),
        "frames": None if result.frames is None else result.frames.numpy(),
        "size": None if result.size is None else np.array(result.size),
        "video": np.array(video),
    }
    with replacing(path) as partial:
        np.savez_compressed(partial, **{name: value for name, value in arrays.items() if value is not None})


def write_tracks_csv(path: Path, result: TrackResult) -> None:
    """One line per frame and point: frame,id,x,y,visible,confidence,time; px, s (empty if not known).

    Numbers have all digits that they need to be read back as they were.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for t, (frame, tracks, visible, confidence) in enumerate(_frames(result)):
            time = "" if result.times is None else repr(result.times[t].item())
            for n, ((x, y), seen, sure) in enumerate(zip(tracks, visible, confidence, strict=True)):
                writer.writerow((frame, n, x, y, int(seen), sure, time))


def write_tracks_deeplabcut(path: Path, result: TrackResult) -> None:
    """One line per frame, three columns (x, y, likelihood) per point, under DeepLabCut's three headings.

    Its integer coordinates are the centres of pixels, half a pixel less than ours.
    """
    names = [f"point{n}" for n in range(result.tracks.shape[1]) for _ in range(3)]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["scorer", *[SCORER] * len(names)])
        writer.writerow(["bodyparts", *names])
        writer.writerow(["coords", *["x", "y", "likelihood"] * result.tracks.shape[1]])
        for frame, tracks, _, confidence in _frames(result):
            cells = zip(tracks, confidence, strict=True)
            writer.writerow([frame, *[cell for (x, y), sure in cells for cell in (x - 0.5, y - 0.5, sure)]])


def read_tracks(path: str | Path) -> TrackResult:
    """What ``write_tracks_npz`` or ``write_tracks_csv`` wrote, by the file's ending.

    Raises FileNotFoundError if it is missing, ValueError if it is neither, or does not hold such tracks.
    """
    file = existing_file(path)
    if file.suffix.lower() not in (".npz", ".csv"):
        raise ValueError(f"{path}: expected tracks in a .npz or a .csv file")
    try:
        return _read_npz(file) if file.suffix.lower() == ".npz" else _read_csv(file)
    except UNREADABLE as error:
        raise ValueError(f"{path}: holds no tracks of retracker ({error})") from error


def _frames(result: TrackResult) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """Frame by frame; numpy's scalars print the fewest digits that are read back as the same number."""
    numbers = range(len(result.tracks)) if result.frames is None else result.frames.tolist()
    answers = (result.tracks, result.visible, result.confidence)
    return zip(numbers, *(values.numpy() for values in answers), strict=True)


def _read_npz(path: Path) -> TrackResult:
    with archive_read(), np.load(path, allow_pickle=False) as stored:
        shape = stored["visible"].shape
        if len(shape) != 2 or stored["tracks"].shape != (*shape, 2) or stored["confidence"].shape != shape:
            raise ValueError(f"tracks {stored['tracks'].shape} and visible {shape} do not agree")
        for name, count in (("times", shape[0]), ("frames", shape[0]), ("queries", shape[1])):
            if name in stored and len(stored[name]) != count:
                raise ValueError(f"{name}: expected {count}, got {len(stored[name])}")
        size = tuple(int(side) for side in stored["size"]) if "size" in stored else None
        return TrackResult(
            tracks=torch.from_numpy(stored["tracks"]).float(),
            visible=torch.from_numpy(stored["visible"]).bool(),
            confidence=torch.from_numpy(stored["confidence"]).float(),
            size=size,
            fps=float(stored["fps"]) if "fps" in stored else None,
            times=torch.from_numpy(stored["times"]).double() if "times" in stored else None,
            frames=torch.from_numpy(stored["frames"]).long() if "frames" in stored else None,
            queries=torch.from_numpy(stored["queries"]).double() if "queries" in stored else None,
        )


def _read_csv(path: Path) -> TrackResult:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        heading = tuple(next(reader, ()))
        if heading != COLUMNS:
            raise ValueError(f"expected the columns {','.join(COLUMNS)}, got {','.join(heading)[:80]!r}")
        rows = [[float(cell or "nan") for cell in row] for row in reader if row]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
    num_frames = len(set(table[:, 0].tolist()))
    order = np.lexsort((table[:, 1], table[:, 0]))
    grid = torch.from_numpy(table[order].reshape(num_frames, -1, len(COLUMNS)))  # T N columns
    if not grid.numel():
        raise ValueError("it has no lines")
    numbers, times = grid[:, 0, 0].long(), grid[:, 0, 6]
    return TrackResult(
        tracks=grid[..., 2:4].float(),
        visible=grid[..., 4] > 0.5,
        confidence=grid[..., 5].float(),
        times=None if times.isnan().any() else times.clone(),
        frames=None if torch.equal(numbers, torch.arange(num_frames)) else numbers,
    )
