"""What a run has logged, of all its starts: read again from TensorBoard's files or from Lightning's csv."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

Curve = list[tuple[int, float]]  # (steps taken, value)
FIRST = 1  # Lightning counts steps from 0
# 0: all of them. Of what is not asked for, one is kept.
KEPT = {"scalars": 0, "tensors": 1, "images": 1, "histograms": 1, "compressedHistograms": 1, "audio": 1}


def read_history(directory: Path) -> dict[str, Curve]:
    """Every scalar of a run by its name.

    A start that went back to a checkpoint replaces what an earlier one had logged from there on.
    """
    found: dict[str, Curve] = {}
    for part in parts(directory):
        began = min((step for curve in part.values() for step, _ in curve), default=0)
        found = {name: [point for point in curve if point[0] < began] for name, curve in found.items()}
        for name, curve in part.items():
            found.setdefault(name, []).extend(curve)
    return {name: curve for name, curve in sorted(found.items()) if curve}


def parts(directory: Path) -> Iterator[Mapping[str, Curve]]:
    """What each start has logged, in the order of time."""
    events = sorted(directory.rglob("events.out.tfevents.*"), key=lambda file: file.name)  # named by time
    for file in events:
        accumulator = EventAccumulator(str(file), size_guidance=KEPT).Reload()
        tags = accumulator.Tags()["scalars"]
        yield {tag: [(event.step + FIRST, event.value) for event in accumulator.Scalars(tag)] for tag in tags}
    for file in [] if events else sorted(directory.rglob("metrics.csv")):
        yield read_csv(file)


def read_csv(file: Path) -> dict[str, Curve]:
    """The columns of a csv that have a step each; empty cells are left out."""
    found: dict[str, Curve] = {}
    with file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            for name, value in row.items():
                if name not in ("step", "epoch") and value:
                    found.setdefault(name, []).append((int(row["step"]) + FIRST, float(value)))
    return found
