"""``tools/benchmark.py --train``: what a step of training costs, as a table, as json, before and after."""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from retracker.commands.shell import OneLineParser, check_positive
from retracker.commands.step_cost import measure
from retracker.configuration import compose_config, run_command

NUMBERS = ("seconds", "operations", "memory", "rates")
SHOWN = {"seconds": ("ms", 1e3), "operations": ("GFLOP", 1e-9), "memory": ("", 1.0), "rates": ("", 1.0)}
HELP = """python tools/benchmark.py --train [--repeats 5] [--json FILE] [--against FILE] [hydra overrides ...]

What a step of training costs, by the configuration of retracker.train: seconds (medians), operations as far
as torch counts them, memory. A batch is made in this process, once, as "data, one process" says. On a GPU
all that is timed is waited for. --against: numbers of an earlier run beside these, and this run's as shares.
--processor-time: that of all threads instead of the clock's, for CPUs that others use, too.
"""


def main(argv: Sequence[str]) -> int:
    """Measure, print, write; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = OneLineParser(
        prog="benchmark --train", usage=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--processor-time", action="store_true")
    arguments, overrides = parser.parse_known_args(words)
    check_positive("--repeats", arguments.repeats)
    before = None if arguments.against is None else read_report(arguments.against)
    clock = time.process_time if arguments.processor_time else time.perf_counter
    cfg = compose_config("train", overrides)
    report = {"overrides": list(overrides), **measure(cfg, arguments.repeats, clock)}
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    show(report, before)


def read_report(path: Path) -> dict:
    """What ``--json`` wrote. Raises ValueError for another file."""
    try:
        report = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not json: {error}") from error
    if not isinstance(report, dict) or not {"setting", *NUMBERS} <= report.keys():
        raise ValueError(f"{path}: expected what benchmark --train --json wrote")
    return report


def show(report: Mapping, before: Mapping | None) -> None:
    """A line for each number; with ``before`` its number then, and the ratio of now to then."""
    setting = ", ".join(f"{name} {value}" for name, value in report["setting"].items())
    columns = ["what", "now"] if before is None else ["what", "before", "now", "now / before"]
    table = Table(*columns, title=f"A step of training: {setting}", title_justify="left")
    for group in NUMBERS:
        for name, value in report[group].items():
            old = None if before is None else before[group].get(name)
            table.add_row(*line(group, name, value, old, compared=before is not None))
        table.add_section()
    console = Console(soft_wrap=False)
    console.print(table)
    differs = differences(report, before) if before else []
    if differs:
        console.print(f"not the same setting: {'; '.join(differs)}", style="bold", soft_wrap=True)


def line(group: str, name: str, value: float, old: float | None, *, compared: bool) -> list[str]:
    unit, scale = SHOWN[group]
    indent = "  " if "," in name and not name.startswith(("data", "scores", "forward")) else ""
    cells = [f"{indent}{name} {unit}".rstrip(), f"{scale * value:,.2f}"]
    if not compared:
        return cells
    if old is None:
        return [cells[0], "-", cells[1], "-"]
    return [cells[0], f"{scale * old:,.2f}", cells[1], f"{value / old:.3f}" if old else "-"]


def differences(report: Mapping, before: Mapping) -> list[str]:
    """Where two reports are not of the same thing."""
    keys = dict.fromkeys([*before["setting"], *report["setting"]])
    both = [(key, before["setting"].get(key), report["setting"].get(key)) for key in keys]
    return [f"{key} was {then}, is {now}" for key, then, now in both if then != now]
