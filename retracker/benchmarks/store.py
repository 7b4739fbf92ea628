"""What a run has done so far, item by item on disk, so that a run that was killed goes on where it stopped.

<directory>/run.json                         what is evaluated, by whom, by which code, in which versions
<directory>/.lock                            held while a run writes here
<directory>/items/<contestant>/00042.json    scores of one item; written whole or not at all
<directory>/predictions/<contestant>/...     answers as .npz, where they are asked for
<directory>/timing/rank0.jsonl               the only thing that differs between two equal runs
"""

import errno
import fcntl
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from retracker.benchmarks.protocol import Scores
from retracker.benchmarks.results import finite, restored
from retracker.media.files import replacing

LONGEST_NAME = 80  # characters of an item's name in the name of a file


@dataclass(frozen=True, kw_only=True)
class Record:
    """What one contestant reached on one item."""

    item: str
    scores: Scores
    departure: float | None = None  # px: how far points went alone; None where that was not asked
    points_alone: int = 0  # how many of them were asked for


class Store:
    """The folder of one run. Left as a context, it may be claimed by another."""

    def __init__(self, directory: Path, *, keep_predictions: bool) -> None:
        self.directory, self.keep_predictions = directory, keep_predictions
        self._lock: IO | None = None

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def claim(self, identity: Mapping[str, Any], *, overwrite: bool) -> None:
        """Make the folder this run's own; what an equal run left is taken over.

        Runs with other contestants are equal if those that both have are, as nobody's numbers depend on
        who else competes. Raises ValueError if another run is writing, or wrote other results, unless these
        may be overwritten.
        """
        self._hold()
        told = self.directory / "run.json"
        wanted = json.loads(json.dumps(identity))
        if told.exists() and not overwrite:
            found = _content(told) or {}
            wanted["contestants"] = {**found.get("contestants", {}), **wanted.get("contestants", {})}
            found["contestants"] = {**wanted["contestants"], **found.get("contestants", {})}
            if found != wanted:
                raise ValueError(
                    f"{self.directory}: holds the results of another evaluation "
                    f"({_difference(found, wanted)}); give another paths.output_dir, or overwrite=true"
                )
        if overwrite:
            for name in ("items", "predictions", "timing", "worst"):
                shutil.rmtree(self.directory / name, ignore_errors=True)
        for unfinished in self.directory.rglob(".*.partial*"):  # of a run that was killed
            unfinished.unlink(missing_ok=True)
        with replacing(told) as path:
            path.write_text(json.dumps(wanted, indent=2) + "\n")

    def _hold(self) -> None:
        """Keep others from writing here until this is left, or the process ends in whatever way."""
        if self._lock is not None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = (self.directory / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return  # a file system without locks
            self._lock.close()
            raise ValueError(f"{self.directory}: another run is writing here; wait for its end") from None

    def record(self, contestant: str, index: int) -> Record | None:
        """What was kept of an item; None if nothing, or not all that is asked for now."""
        found = _content(self._item(contestant, index))
        if found is None:
            return None
        if self.keep_predictions and not self.prediction(contestant, index, found["item"]).exists():
            return None
        departure = found.get("departure_px")
        return Record(
            item=found["item"],
            scores=restored(found["scores"]),
            departure=None if departure is None else float(departure),
            points_alone=found.get("points_alone", 0),
        )

    def keep(self, contestant: str, index: int, record: Record, arrays: Mapping[str, np.ndarray]) -> None:
        """Write the record of an item, after its answer where answers are kept."""
        if self.keep_predictions:
            with replacing(self.prediction(contestant, index, record.item)) as path:
                np.savez_compressed(path, **arrays)
        content = {"item": record.item, "scores": finite(record.scores)}
        if record.departure is not None:
            content |= finite({"departure_px": record.departure}) | {"points_alone": record.points_alone}
        with replacing(self._item(contestant, index)) as path:
            path.write_text(json.dumps(content, indent=1) + "\n")

    def prediction(self, contestant: str, index: int, item: str) -> Path:
        """The file of an answer."""
        return self.directory / "predictions" / slug(contestant) / f"{index:05d}_{slug(item)}.npz"

    def note_time(self, rank: int, contestant: str, size: int, seconds: float) -> None:
        """Add what an answer took."""
        path = self.directory / "timing" / f"rank{rank}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"contestant": contestant, "size": size, "seconds": seconds}) + "\n")

    def per_second(self, contestant: str) -> float | None:
        """Frames (or pairs) per second of all answers; None if none was timed."""
        timed = [line for line in self._timed() if line["contestant"] == contestant]
        seconds = sum(line["seconds"] for line in timed)
        return sum(line["size"] for line in timed) / seconds if seconds else None

    def _timed(self) -> Iterator[dict[str, Any]]:
        for path in sorted((self.directory / "timing").glob("rank*.jsonl")):
            for line in path.read_text().splitlines():
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue  # the last words of a process that was killed

    def _item(self, contestant: str, index: int) -> Path:
        return self.directory / "items" / slug(contestant) / f"{index:05d}.json"


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("_.")[:LONGEST_NAME] or "unnamed"


def _content(path: Path) -> dict[str, Any] | None:
    """What a json file holds; None if it is missing, or damaged: then it is made anew."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first thing that two runs differ in, in words."""
    a, b = dict(_flat(found)), dict(_flat(wanted))
    name = next(key for key in [*b, *a] if a.get(key) != b.get(key))
    return f"{name}: there {_short(a.get(name))}, now {_short(b.get(name))}"


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}".lstrip("."))
    else:
        yield name, value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."
