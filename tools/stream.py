"""python tools/stream.py [--samples 4000] [--workers 2] [--profile] [hydra overrides]: how fast is the data?

Reads so many clips of the training stream that the overrides describe, as a training would, and prints how
fast they come and how much memory the main process and its workers hold (pages that they share are counted
once, mapped files not at all). Memory must not grow. With --profile everything runs in one process, and what
took longest is listed.
"""

import argparse
import cProfile
import io
import multiprocessing
import os
import pstats
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

from hydra.utils import instantiate
from rich.console import Console

from retracker.configuration import compose_config, run_command
from retracker.data.datamodule import DataModule
from retracker.types import VideoSample

SLOWEST = 30  # functions that a profile lists


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(run, argv)


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--every", type=int, default=200, help="samples between two lines")
    parser.add_argument("--profile", action="store_true")
    options, overrides = parser.parse_known_args(arguments)
    workers = 0 if options.profile else options.workers
    cfg = compose_config("train", [*overrides, f"data.num_workers={workers}"])
    data = instantiate(cfg.data, _convert_="all")
    console = Console(highlight=False, soft_wrap=True)
    if options.profile:
        with cProfile.Profile() as profile:
            read(data, options, console)
        console.print(slowest(profile))
    else:
        read(data, options, console)


def read(data: DataModule, options: argparse.Namespace, console: Console) -> None:
    """Read the stream from its beginning, printing a line every so many samples."""
    console.print("samples   clips/s  frames/s  resident MB: main  workers      all")
    start, last, frames, memory = perf_counter(), 0, 0, []
    for samples, batch in counted(data, options.samples):
        frames += batch.video.shape[0] * batch.video.shape[1]
        if samples // options.every > last // options.every or samples >= options.samples:
            seconds = perf_counter() - start
            main_mb = resident_mb(os.getpid())
            workers_mb = sum(resident_mb(child.pid) for child in multiprocessing.active_children())
            memory.append(main_mb + workers_mb)
            console.print(
                f"{samples:7d} {samples / seconds:9.1f} {frames / seconds:9.1f} "
                f"{main_mb:18.1f} {workers_mb:8.1f} {memory[-1]:8.1f}"
            )
        last = samples
    half = memory[len(memory) // 2 :]
    console.print(f"second half: from {min(half):.1f} to {max(half):.1f} MB, at its end {half[-1]:.1f} MB")
    console.print(data.stream.faults.report() or "nothing was corrupt", markup=False)


def counted(data: DataModule, num_samples: int) -> Iterator[tuple[int, VideoSample]]:
    """The batches of one process alone, with the number of samples so far."""
    data.trainer = SimpleNamespace(global_step=0, accumulate_grad_batches=1, world_size=1, global_rank=0)
    batches = -(-num_samples // data.batch_size)
    for number, batch in enumerate(islice(data.train_dataloader(), batches), start=1):
        yield number * data.batch_size, batch


def resident_mb(process: int) -> float:
    """What a process holds of its own, with its part of what it shares, without mapped files (Linux only).

    Those, such as libraries, are shared with whatever else runs on the machine, and can be dropped.
    """
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
    return (sizes["Pss"] - sizes["Pss_File"]) / 1024


def slowest(profile: cProfile.Profile) -> str:
    text = io.StringIO()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(SLOWEST)
    return text.getvalue()


if __name__ == "__main__":
    sys.exit(main())
