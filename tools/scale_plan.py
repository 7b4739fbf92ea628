"""python tools/scale_plan.py --measure FILE [hydra overrides]: measure training steps of several sizes here.
python tools/scale_plan.py --plan FILE gpus=8,16,64 frames=24 points=256 size=512 global_batch=64 [...]

--measure times forward and backward passes, making clips, and memory on this machine's GPU (else its CPU) for
a set of sizes, fits a price to each part of the work, and says how far predictions are off for sizes that the
fit has not seen. Rendered clips: data=synthetic. --plan says what a step takes on a cluster of such GPUs:

  gpus=8,16        one line for each           batch=1         clips through one GPU at once
  frames, points, size (px)                    global_batch    clips of a step: the rest is accumulated
  steps=200000     for the hours               workers=8       data processes of each GPU
  gpus_per_node=8                              memory_gb=80    of a GPU
  link_gb=200      GB/s, all-reduce in a node  network_gb=20   GB/s of each GPU between nodes
  overlap=0.7      share of the backward pass that hides the all-reduce
  speed=1          of a planned GPU, as a multiple of the measured device: a guess, if that was another one

Measured: computing, clips, memory, spread of step times. Assumed: bandwidths, overlap, independent normal
step times (stragglers), perfect scaling of data processes and of clips in a batch, no contention for disks.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from retracker.commands.scale_model import (
    GIB_IN_MIB,
    OF_DATA,
    TERMS,
    Cluster,
    Measured,
    Plan,
    Prices,
    Size,
    fit,
    plan,
)
from retracker.commands.shell import OneLineParser, say
from retracker.commands.step_cost import measure
from retracker.configuration import compose_config, run_command

PASSES = ("encode", "coarse", "refiner", "memory", "net", "loss", "forward, rest", "backward")
CPU_SIZES = ((96, 128, 192), (4, 8), (16, 64))  # px, frames, points
GPU_SIZES = ((256, 384, 512), (8, 16), (64, 256))
HELD_OUT = {"cpu": ((160, 6, 32), (128, 12, 96), (224, 6, 48)), "cuda": ((448, 12, 128), (384, 24, 384))}
DEFAULTS = {
    **{"gpus": "8", "batch": 1, "frames": 24, "points": 256, "size": 512, "global_batch": 64},
    **{"steps": 200_000, "workers": 8, "gpus_per_node": 8, "memory_gb": 80.0, "link_gb": 200.0},
    **{"network_gb": 20.0, "overlap": 0.7, "speed": 1.0},
}


def main(argv: list[str] | None = None) -> int:
    """Measure or plan; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = OneLineParser(
        prog="scale_plan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--measure", type=Path, metavar="FILE")
    mode.add_argument("--plan", type=Path, metavar="FILE")
    parser.add_argument("--repeats", type=int, default=5, help="steps of each size; the median counts")
    parser.add_argument("--processor-time", action="store_true", help="for CPUs that others use, too")
    arguments, rest = parser.parse_known_args(words)
    if arguments.plan is not None:
        show_plans(read(arguments.plan), settings(rest))
        return
    clock = time.process_time if arguments.processor_time else time.perf_counter
    reports = []
    arguments.measure.parent.mkdir(parents=True, exist_ok=True)
    for size in sizes():
        reports.append(measure(config(rest, size), arguments.repeats, clock))
        arguments.measure.write_text(
            json.dumps({"overrides": list(rest), "reports": reports}, indent=1) + "\n"
        )
        found = f"{passes(reports[-1]):.3g} s, {saved_mib(reports[-1]):.0f} MiB"
        say("{} px, {} frames, {} points: {}".format(*size, found))
    show_fit(reports)


def sizes() -> list[tuple[int, int, int]]:
    """(px, frames, points): those that are fitted, then those that are held out."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    return [*product(*(GPU_SIZES if kind == "cuda" else CPU_SIZES)), *HELD_OUT[kind]]


def config(overrides: Sequence[str], size: tuple[int, int, int]) -> DictConfig:
    """The training of one size."""
    names = ("size", "num_frames", "num_points")
    of_size = [f"data.train.synthetic.{name}={value}" for name, value in zip(names, size, strict=True)]
    return compose_config("train", [*overrides, "data.batch_size=1", *of_size])


def read(path: Path) -> list[dict]:
    """The reports of a file that ``--measure`` wrote. Raises ValueError for another file."""
    try:
        return json.loads(path.read_text())["reports"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected what scale_plan --measure wrote ({error})") from error


def size_of(report: Mapping) -> Size:
    found = report["setting"]
    names = ("frames", "points", "height", "width")
    return Size(clips=found["batch"], **{name: found[name] for name in names})


def passes(report: Mapping) -> float:
    """Seconds of forward and backward pass."""
    return sum(report["seconds"].get(name, 0.0) for name in PASSES)


def making(report: Mapping) -> float:
    """Seconds to make a clip."""
    return report["seconds"]["data, one process"]


def saved_mib(report: Mapping) -> float:
    """What a step needs beside weights and optimiser; on a CPU only what the backward pass waits for."""
    found = report["memory"]
    if report["setting"]["device"] == "cpu":
        return found["saved for backward MiB"]
    return found["peak MiB"] - found["weights and optimiser MiB"]


def split(reports: Sequence[Mapping]) -> tuple[list[Mapping], list[Mapping]]:
    """Reports of sizes that are fitted, and of those that are held out."""
    hidden = {size for group in HELD_OUT.values() for size in group}
    own = [(r["setting"]["height"], r["setting"]["frames"], r["setting"]["points"]) for r in reports]
    seen = [report for report, size in zip(reports, own, strict=True) if size not in hidden]
    return seen, [report for report, size in zip(reports, own, strict=True) if size in hidden]


def measured(reports: Sequence[Mapping]) -> Measured:
    """The prices of everything."""
    of = [size_of(report) for report in reports]
    median = statistics.median
    return Measured(
        passes=fit(of, [passes(report) for report in reports]),
        backward_share=median(report["seconds"]["backward"] / passes(report) for report in reports),
        data=fit(of, [making(report) for report in reports], OF_DATA),
        saved=fit(of, [saved_mib(report) for report in reports]),
        update_seconds=median(r["seconds"]["optimiser"] + r["seconds"]["average"] for r in reports),
        fixed_mib=reports[0]["memory"]["weights and optimiser MiB"],
        reduced_mib=reports[0]["memory"]["gradients to reduce MiB"],
        spread=median(report["spread"] for report in reports),
    )


def show_fit(reports: Sequence[Mapping]) -> None:
    """The prices, and prediction beside measurement for each size."""
    seen, hidden = split(reports)
    found, console = measured(seen), Console(soft_wrap=True)
    setting = reports[0]["setting"]
    console.print(f"measured on {setting['device']}, {setting['precision']}; spread {found.spread:.1%}")
    for name in ("passes", "data", "saved"):
        prices: Prices = getattr(found, name)
        parts = ", ".join(f"{term} {prices.of[term]:.3g}" for term in TERMS if prices.of[term])
        console.print(f"{name}: {parts}; at worst {prices.worst:.1%} off where fitted")
    off = [found.data.total(size_of(report)) / making(report) - 1 for report in hidden]
    console.print("data, held out: " + ", ".join(f"{share:+.1%}" for share in off))
    table = Table(
        "px", "frames", "points", "", "ms measured", "predicted", "off", "MiB saved", "predicted", "off"
    )
    for report, held in [(r, "") for r in seen] + [(r, "held out") for r in hidden]:
        size = size_of(report)
        cells = [str(value) for value in (size.height, size.frames, size.points)] + [held]
        memory = saved_mib(report)
        for actual, guess, scale in (
            (passes(report), found.passes.total(size), 1000),
            (memory, found.saved.total(size), 1),
        ):
            cells += [f"{scale * actual:,.0f}", f"{scale * guess:,.0f}", f"{guess / actual - 1:+.1%}"]
        table.add_row(*cells)
    Console(width=110).print(table)


def settings(words: Sequence[str]) -> dict:
    """``name=value`` words over the defaults. Raises ValueError for a name that is not known."""
    found = dict(DEFAULTS)
    for word in words:
        name, is_given, value = word.partition("=")
        if name not in DEFAULTS or not is_given:
            raise ValueError(f"{word}: expected name=value with one of {', '.join(DEFAULTS)}")
        try:
            found[name] = value if name == "gpus" else type(DEFAULTS[name])(value)
            [int(part) for part in found["gpus"].split(",")]
        except ValueError:
            raise ValueError(f"{word}: expected a number behind {name}=") from None
        if name != "gpus" and found[name] <= 0 or any(int(part) < 1 for part in found["gpus"].split(",")):
            raise ValueError(f"{word}: expected a positive number")
    return found


def show_plans(reports: Sequence[Mapping], chosen: Mapping) -> None:
    """A line for each number of GPUs."""
    found = measured(split(reports)[0])
    size = Size(
        clips=chosen["batch"], frames=chosen["frames"], points=chosen["points"], **square(chosen["size"])
    )
    names = ("gpus_per_node", "link_gb", "network_gb", "overlap", "workers", "memory_gb", "speed")
    table = Table(
        "GPUs", "clips/s", "s/step", "hours", "GiB/GPU", "compute", "network", "stragglers", "data", "limit"
    )
    for gpus in map(int, chosen["gpus"].split(",")):
        cluster = Cluster(gpus=gpus, **{name: chosen[name] for name in names})
        one = plan(found, cluster, size, chosen["global_batch"])
        table.add_row(str(gpus), *cells_of(one, chosen))
    console = Console(width=118)
    console.print(table)
    steps = ", ".join(f"{name}={value}" for name, value in chosen.items() if name != "gpus")
    device = reports[0]["setting"]["device"]
    console.print(
        f"{steps}\nmeasured on: {device}; planned GPUs are taken to be {chosen['speed']:g} x as fast"
    )
    console.print(
        "limit data: more workers or cheaper clips; memory: fewer frames, points, px or checkpointing"
    )
    largest = max(size_of(report).height for report in reports)
    if chosen["size"] > largest:
        console.print(f"beyond what was measured ({largest} px): an extrapolation", style="bold")


def cells_of(one: Plan, chosen: Mapping) -> list[str]:
    fits = one.memory_mib / GIB_IN_MIB <= chosen["memory_gb"]
    return [
        f"{one.clips / one.step:,.1f}",
        f"{one.step:.3g}",
        f"{chosen['steps'] * one.step / 3600:,.1f}",
        f"{one.memory_mib / GIB_IN_MIB:.1f}",
        *(f"{value:.3g} s" for value in (one.compute, one.exposed, one.straggle, one.data)),
        one.limit if fits else "memory",
    ]


def square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


if __name__ == "__main__":
    sys.exit(main())
