"""Train all combinations: python tools/sweep.py [options] EXPERIMENT key=value,value [key=value ...].

Values are Hydra's: 1e-4,3e-4 or range(0,3). Each combination is a run of run_a100.sh with an output folder of
its own below outputs/sweeps/NAME. The same line again goes on with what was stopped and leaves out what is
finished, and what is at work or waits in SLURM's queue. In the end, and with --table, the best value of the
metric that checkpoints are chosen by, run by run, best first: printed, and written to table.md and table.csv.

Told to stop by SIGTERM, it tells its runs, waits until they have saved, and ends with exit code 75. If a run
has failed it ends with 1; with 2 if all that failed did so by a mistake, which is no better for another try.
"""

import argparse
import csv
import getpass
import hashlib
import io
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retracker.commands.sites import choose, sites
from retracker.configuration import compose_config, run_command
from retracker.host import FAILURE, MISTAKE, STOPPED
from retracker.launch.children import Children, alone_in
from retracker.launch.processes import KEPT_BY

ROOT = Path(__file__).resolve().parents[1]
FINISHED = "0"  # what exit_code says of a run that took all its steps
SLURM_JOBS = 8  # of an array at a time, where --jobs says nothing


@dataclass(frozen=True)
class Run:
    """One combination: the values that it does not share with the others, and where it lies."""

    values: Mapping[str, str]
    words: list[str]
    folder: Path

    @property
    def exit_code(self) -> str | None:
        """Of its last start; None if it was never started, or is at work."""
        path = self.folder / "exit_code"
        return path.read_text().strip() if path.is_file() else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run, and print the table; returns the exit code."""
    return run_command(sweep, argv)


def sweep(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=0, help="at a time (1; of a SLURM array 8)")
    parser.add_argument("--name", help="of the sweep's folder; default: made of its words")
    parser.add_argument("--slurm", action="store_true", help="one array job in place of runs on this machine")
    parser.add_argument("--sbatch", default="", metavar="OPTIONS", help="--sbatch='--time=8:00:00 --nodes=1'")
    parser.add_argument("--table", action="store_true", help="only the table of what there is")
    parser.add_argument("experiment")
    arguments, overrides = parser.parse_known_args(words)
    if arguments.jobs < 0 or any(word.startswith("--") for word in overrides):
        raise ValueError("options are --jobs N, --name NAME, --slurm, --sbatch='OPTIONS' and --table")
    combinations = combine(overrides)
    site = f"paths={choose(sites(), os.environ, socket.gethostname())}"
    configurations = [
        compose_config("train", [site, f"+experiment={arguments.experiment}", *each]) for each in combinations
    ]
    name = arguments.name or name_of(arguments.experiment, overrides)
    folder = Path(configurations[0].paths.outputs) / "sweeps" / name
    runs = [make_run(arguments.experiment, c, combinations, folder) for c in combinations]
    if not arguments.table:
        waiting = [each for each in runs if each.exit_code != FINISHED]
        sys.stderr.write(f"{len(runs)} runs in {folder}, {len(runs) - len(waiting)} of them finished\n")
        waiting = not_queued(waiting)
        if arguments.slurm:
            submit(waiting, folder, arguments.sbatch.split(), arguments.jobs or SLURM_JOBS)
            return
        codes = train_all(waiting, arguments.jobs or 1)
    rows = sorted_rows(runs, configurations[0])
    write_tables(folder, rows)
    sys.stdout.write(markdown(rows))
    failed = set() if arguments.table else codes - {0}
    if failed:
        sys.exit(MISTAKE if failed == {MISTAKE} else FAILURE)


def combine(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of the values that overrides list, in Hydra's words."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    choices = [
        [f"{each.get_key_element()}={value}" for value in each.sweep_string_iterator()]
        if each.is_sweep_override()
        else [each.input_line]
        for each in parsed
    ]
    if all(len(values) == 1 for values in choices):
        raise ValueError("nothing is varied: give some key several values, as in seed=0,1,2")
    return [list(words) for words in itertools.product(*choices)]


def make_run(experiment: str, words: Sequence[str], all_words: Sequence[Sequence[str]], folder: Path) -> Run:
    varied = [i for i in range(len(words)) if len({each[i] for each in all_words}) > 1]
    pairs = [words[i].partition("=")[::2] for i in varied]
    values = {key.lstrip("+"): value for key, value in pairs}
    own = folder / "_".join(f"{key.rpartition('.')[2]}={safe(value)}" for key, value in values.items())
    quoted = str(own.resolve()).replace("'", "\\'")
    return Run(values, [experiment, *words, f"paths.output_dir='{quoted}'", "resume=auto"], own)


def name_of(experiment: str, overrides: Sequence[str]) -> str:
    """The same for the same words, so that a sweep is found again."""
    return f"{experiment}_{hashlib.sha256(chr(0).join(overrides).encode()).hexdigest()[:8]}"


def safe(value: str) -> str:
    """The value as part of a folder's name, and no other value's."""
    made = "".join(letter if letter.isalnum() or letter in "+-._" else "-" for letter in value)
    return made if made == value else f"{made}-{hashlib.sha256(value.encode()).hexdigest()[:6]}"


def train_all(runs: Sequence[Run], at_once: int) -> set[int]:
    """All on this machine: the exit codes of those that were started. Exits with 75 if told to stop."""
    children = Children()
    signal.signal(signal.SIGTERM, children.stop)
    with ThreadPoolExecutor(at_once) as pool:
        codes = set(pool.map(partial(train, children), runs))
    if children.stopped:
        sys.exit(STOPPED)
    return codes - {None}


def train(children: Children, run: Run) -> int | None:
    """One run on this machine: its exit code, None if it is not started.

    Words, output and exit code lie in its folder.
    """
    shown = " ".join(f"{key}={value}" for key, value in run.values.items())
    with alone_in(run.folder) as lock:
        if lock is None:
            tell(f"{shown}: at work already, left out")
        if lock is None or children.stopped:
            return None
        prepare(run)
        tell(f"{shown}: {run.folder / 'log'}")
        with (run.folder / "log").open("a") as log:
            words = ["bash", str(ROOT / "run_a100.sh"), *run.words]
            code = children.run(words, own_environment(), log, lock)
        if code is not None:
            (run.folder / "exit_code").write_text(f"{code}\n")
        if code:
            tell(f"{shown}: ended with exit code {code}")
        return code


def tell(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


def submit(runs: Sequence[Run], folder: Path, options: Sequence[str], at_once: int) -> None:
    """All runs as one array job, but those at work here; raises ValueError if sbatch refuses it."""
    runs = [each for each in runs if not at_work(each)]
    if not runs:
        return
    for each in runs:
        prepare(each)
    order = folder / f"order_{time.strftime('%Y-%m-%d_%H-%M-%S')}"  # its own: an earlier array may still run
    order.write_text("".join(f"{each.folder.resolve()}\n" for each in runs))
    words = [
        "sbatch",
        "--parsable",
        f"--array=0-{len(runs) - 1}%{at_once}",
        *options,
        str(ROOT / "scripts" / "train.slurm"),
    ]
    environ = {**own_environment(), "RETRACKER_SWEEP": str(order.resolve())}
    try:
        done = subprocess.run(words, cwd=ROOT, env=environ, check=False, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise ValueError("--slurm: there is no sbatch here: leave it out, or go to a login node") from None
    if done.returncode:
        raise ValueError(f"sbatch ended with exit code {done.returncode}: {' '.join(words)}")
    job = done.stdout.strip().partition(";")[0]  # a cluster's name may follow
    for i, each in enumerate(runs):
        (each.folder / "job").write_text(f"{job}_{i}\n")
    tell(f"array job {job}: {len(runs)} runs")


def at_work(run: Run) -> bool:
    with alone_in(run.folder) as lock:
        if lock is None:
            tell(f"{run.folder.name}: at work already, left out")
        return lock is None


def not_queued(runs: Sequence[Run]) -> list[Run]:
    """Those whose array job is not at work and does not wait. Raises ValueError if SLURM does not tell."""
    jobs = {each.folder: each.folder / "job" for each in runs}
    jobs = {folder: path.read_text().strip() for folder, path in jobs.items() if path.is_file()}
    if not jobs or shutil.which("squeue") is None:
        return list(runs)
    words = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"squeue ended with exit code {done.returncode}: {done.stderr.strip()}")
    queued = set(done.stdout.split())
    for folder, job in jobs.items():
        if job in queued:
            tell(f"{folder.name}: job {job} has not ended, left out")
    return [each for each in runs if jobs.get(each.folder) not in queued]


def own_environment() -> dict[str, str]:
    """Ours without the daemon that keeps this sweep: who ends one run must not end them all."""
    return {name: value for name, value in os.environ.items() if name != KEPT_BY}


def prepare(run: Run) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "words").write_text("".join(f"{word}\n" for word in run.words))
    (run.folder / "exit_code").unlink(missing_ok=True)


def sorted_rows(runs: Sequence[Run], cfg: DictConfig) -> list[dict[str, str]]:
    """One row for each run, the best first and those without a value last."""
    monitor, largest_first = cfg.callbacks.checkpoints.monitor, cfg.callbacks.checkpoints.mode == "max"
    found = {i: values_of(each.folder, monitor) for i, each in enumerate(runs)}
    best = {i: (max if largest_first else min)(values) for i, values in found.items() if values}
    order = sorted(best, key=best.get, reverse=largest_first) + [i for i in found if i not in best]
    return [
        {
            **runs[i].values,
            f"best {monitor}": f"{best[i]:.4f}" if i in best else "",
            "last": f"{found[i][-1]:.4f}" if found[i] else "",
            "state": state(runs[i]),
            "folder": runs[i].folder.name,
        }
        for i in order
    ]


def state(run: Run) -> str:
    if run.exit_code is None:
        return "not ended" if (run.folder / "words").is_file() else "not started"
    return "finished" if run.exit_code == FINISHED else f"exit code {run.exit_code}"


def values_of(folder: Path, name: str) -> list[float]:
    """All values that a run has logged of a metric, by step; of steps taken twice, the later."""
    by_step: dict[int, float] = {}
    for path in sorted(folder.glob("tensorboard/**/events.*"), key=lambda path: path.stat().st_mtime):
        events = EventAccumulator(str(path))
        events.Reload()
        if name in events.Tags()["scalars"]:
            by_step |= {event.step: event.value for event in events.Scalars(name)}
    return [by_step[step] for step in sorted(by_step)]


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [
        " | ".join(rows[0]),
        " | ".join("---" for _ in rows[0]),
        *(" | ".join(row.values()) for row in rows),
    ]
    return "".join(f"| {line} |\n" for line in lines)


def write_tables(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(markdown(rows))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    (folder / "table.csv").write_text(text.getvalue())


if __name__ == "__main__":
    sys.exit(main())
