# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""``run.json``: what a run was started with, on what, each time, and what became of it."""

import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

import pytorch_lightning as pl

from retracker.host import revision
from retracker.training.machine import hardware, job, packages
from retracker.training.ranks import of_all_ranks

log = logging.getLogger(__name__)

FILE = "run.json"
FORMAT = 1
BEAT = 60  # s between notes of how far a run has come: what is killed cannot say so any more
LISTED = 1000  # refused steps that are named
LOST = "lost: it ended without a word, as processes do that are killed"


class RunRecord(pl.Callback):
    """Keep ``run.json`` in a run's directory, and call ``at_end`` with the directory when the run ends.

    Stands behind the callback that saves. A record that cannot be written is no reason to stop a training.
    """

    def __init__(self, directory: str, config: Mapping, at_end: Callable[[Path], object]) -> None:
        self.path, self.config, self.at_end = Path(directory) / FILE, config, at_end
        self._record: dict | None = None  # on rank 0, from the start to the end of a training
        self._in_a_row, self._written = 0, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        here = hardware()
        hosts = of_all_ranks(here["host"], trainer.world_size)
        self._in_a_row = pl_module.guard.in_a_row
        if trainer.is_global_zero:
            self._record = begun(read_record(self.path), self.config, start_of(trainer, here, hosts))
            self._write(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if self._record is None:
            return
        if pl_module.guard.in_a_row > self._in_a_row:
            self._record["refused_steps"] = [*self._record["refused_steps"], trainer.global_step - 1][
                -LISTED:
            ]
        self._in_a_row = pl_module.guard.in_a_row
        if time.monotonic() - self._written > BEAT:
            self._write(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step >= trainer.max_steps:
            self._end(trainer, "finished")
        elif told_to_stop(trainer):
            self._end(trainer, "stopped: told to by a signal")
        else:
            self._end(trainer, "stopped: before its last step")

    def on_exception(self, trainer, pl_module, exception) -> None:
        if told_to_stop(trainer):
            self._end(trainer, "stopped: told to by a signal")
        elif isinstance(exception, KeyboardInterrupt):
            self._end(trainer, "stopped: interrupted (Ctrl-C)")
        else:
            said = " ".join(str(exception).split())
            self._end(trainer, f"failed: {type(exception).__name__}: {said}")

    def _end(self, trainer: pl.Trainer, how: str) -> None:
        if self._record is None:
            return
        self._record["starts"][-1]["exit"] = how
        self._write(trainer)
        self._record = None
        try:
            for logger in trainer.loggers:
                logger.save()
            self.at_end(self.path.parent)
        except (OSError, ValueError) as error:
            log.warning("no summary of this run: %s", error)

    def _write(self, trainer: pl.Trainer) -> None:
        brought_up_to_date(self._record, trainer)
        self._written = time.monotonic()
        try:
            write_record(self.path, self._record)
        except OSError as error:
            log.warning("%s could not be written: %s", self.path, error)


def told_to_stop(trainer: pl.Trainer) -> bool:
    """Whether all processes have agreed to stop since a signal told one of them to."""
    return any(getattr(callback, "stopped", False) for callback in trainer.callbacks)


def start_of(trainer: pl.Trainer, here: Mapping, hosts: list[str]) -> dict[str, object]:
    """What is known of a start when it starts."""
    clips = trainer.datamodule.batch_size * trainer.accumulate_grad_batches * trainer.world_size
    return {
        "started": now(),
        "ended": None,
        "exit": None,
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "folder": os.getcwd(),
        "pid": os.getpid(),
        **revision(Path(__file__).resolve()),
        "resumed_from": str(trainer.ckpt_path) if trainer.ckpt_path else None,
        "first_step": trainer.global_step,
        "last_step": trainer.global_step,
        "world_size": trainer.world_size,
        "num_nodes": trainer.num_nodes,
        "hosts": sorted(set(hosts)),
        "device": str(trainer.strategy.root_device),
        "precision": str(trainer.precision),
        "clips_per_step": clips,
        "hardware": dict(here),
        "job": job(),
        "changed": {},
    }


def begun(before: Mapping | None, config: Mapping, start: dict) -> dict[str, object]:
    """The record of a run that starts: its first time, or again."""
    found = {"config": dict(config), "packages": packages()}
    starts = list(before["starts"]) if before else []
    if starts and starts[-1]["exit"] is None:
        starts[-1] = starts[-1] | {"exit": LOST}
    if before:
        start["changed"] = {name: changes(before[name], found[name]) for name in found}
    return {
        "format": FORMAT,
        "name": config["name"],
        "seed": config["seed"],
        "starts": [*starts, start],
        "refused_steps": before["refused_steps"] if before else [],
        **found,
    }


def brought_up_to_date(record: dict, trainer: pl.Trainer) -> None:
    """Note how far the latest start has come."""
    start = record["starts"][-1]
    start["last_step"], start["ended"] = trainer.global_step, now()
    record["status"] = "running" if start["exit"] is None else start["exit"].partition(":")[0]
    record["steps"], record["planned_steps"] = trainer.global_step, trainer.max_steps
    record["total_clips"] = sum(
        one["clips_per_step"] * (one["last_step"] - one["first_step"]) for one in record["starts"]
    )


def changes(before: object, after: object, name: str = "") -> dict[str, list]:
    """{"dotted.key": [before, after]} of what differs; None where there was, or is, none."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = {}
        for key in dict.fromkeys([*before, *after]):
            found |= changes(before.get(key), after.get(key), f"{name}.{key}".lstrip("."))
        return found
    return {} if before == after else {name: [before, after]}


def read_record(path: Path) -> dict | None:
    """What ``run.json`` says; None if there is none, or nothing that this version can go on from."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def write_record(path: Path, record: Mapping) -> None:
    """Replace the file as a whole: a run that is killed leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(record, indent=1, default=str) + "\n")
    partial.replace(path)


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
