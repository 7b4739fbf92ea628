"""How fast data sets are read, and where the time goes: markdown tables for notes.

python tools/throughput.py kubric=/data/kubric pointodyssey=/data/pointodyssey --workers 2
"""

import argparse
import cProfile
import os
import pstats
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from retracker.commands.data_sets import open_data_set
from retracker.configuration import run_command
from retracker.data.inspection import Extent, Part, excerpt, parts_of
from retracker.data.recordings import Unusable
from retracker.types import VideoSample

TOP = 5  # entries of the profile


class Excerpts(Dataset[VideoSample]):
    """Some parts of a data set, for workers to read."""

    def __init__(self, dataset: Dataset, parts: Sequence[Part]) -> None:
        self.dataset, self.parts = dataset, parts

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> VideoSample:
        return excerpt(self.dataset, self.parts[index])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "data_sets", nargs="+", metavar="NAME=ROOT", help="or NAME alone, if it needs no root"
    )
    parser.add_argument("--clips", type=int, default=24, help="read per data set (default: 24)")
    parser.add_argument("--frames", type=int, default=24, help="of each clip (default: 24)")
    parser.add_argument("--workers", type=int, default=0, help="also read with so many processes")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(words)
    if arguments.clips < 2:  # the first one starts the clock
        raise ValueError(f"--clips: expected at least 2, got {arguments.clips}")
    torch.set_num_threads(1)
    rates, profiles = [], []
    for word in arguments.data_sets:
        name, _, root = word.partition("=")
        parts = chosen(name, root or None, arguments)
        rates += [rate_row(name, parts, workers) for workers in dict.fromkeys((0, arguments.workers))]
        profiles += list(profile_rows(name, parts))
    say("", "| data set | processes | clips/s | frames/s | frame |", "|---|---:|---:|---:|---|", *rates)
    say("", "| data set | share of the time | calls a clip | where |", "|---|---:|---:|---|", *profiles)


def chosen(name: str, root: str | None, arguments: argparse.Namespace) -> Excerpts:
    """Random frames in a row of random items, read once: for the disk's cache, and to see what is usable."""
    dataset, rng = open_data_set(name, root, []), np.random.default_rng(arguments.seed)
    extent = Extent(num_frames=arguments.frames, whole=False)
    indices = rng.integers(len(dataset), size=arguments.clips).tolist()
    parts = [part for index in indices for part in parts_of(dataset, index, extent, rng)]
    usable = [part for part in parts if is_usable(dataset, part)]
    if len(usable) < 2:
        raise ValueError(f"{name}: {len(usable)} of {len(parts)} clips show anything to learn from")
    return Excerpts(dataset, usable)


def is_usable(dataset: Dataset, part: Part) -> bool:
    try:
        excerpt(dataset, part)
    except Unusable:
        return False
    return True


def rate_row(name: str, parts: Excerpts, workers: int) -> str:
    """Read all by the clock."""
    first = parts[0]
    loader = DataLoader(parts, batch_size=None, num_workers=workers)
    clips = iter(loader)
    next(clips)  # the clock starts when the workers are there
    start = time.perf_counter()
    frames = sum(len(clip.video) for clip in clips)
    seconds = time.perf_counter() - start
    size = f"{first.video.shape[-1]} x {first.video.shape[-2]}"
    return (
        f"| {name} | {max(1, workers)} | {(len(parts) - 1) / seconds:.1f} | {frames / seconds:.0f} | {size} |"
    )


def profile_rows(name: str, parts: Excerpts) -> Iterator[str]:
    """The functions that most of the time is spent in, without what they call."""
    profile = cProfile.Profile()
    with profile:
        for index in range(len(parts)):
            parts[index]
    stats = pstats.Stats(profile).stats
    total = sum(entry[2] for entry in stats.values())
    for (file, line, function), entry in sorted(stats.items(), key=lambda item: -item[1][2])[:TOP]:
        place = f"{Path(file).parent.name}{os.sep}{Path(file).name}:{line} {function}" if line else function
        yield f"| {name} | {entry[2] / total:.0%} | {entry[1] / len(parts):.1f} | `{place}` |"


def say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))


if __name__ == "__main__":
    sys.exit(main())
