# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""python tools/steps_in.py MINUTES EXPERIMENT [override ...]: how many steps of a training fit in a time.

Takes a few steps to find out, and prints one number: for total_steps, so that a schedule ends with the time.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence

import pytorch_lightning as pl

from retracker.configuration import compose_config, run_command
from retracker.train import build_data, build_module, build_trainer, set_up_process

WARM_UP, TIMED = 4, 34  # steps
SPARE = 0.95  # of the time: validation and checkpoints take some, too


class Clock(pl.Callback):
    """Seconds that steps after the first few took."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.times.append(time.perf_counter())

    @property
    def seconds_per_step(self) -> float:
        return (self.times[-1] - self.times[WARM_UP - 1]) / (len(self.times) - WARM_UP)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("experiment")
    arguments, overrides = parser.parse_known_args(words)
    if not arguments.minutes > 0:
        raise ValueError(f"minutes: expected a positive number, got {arguments.minutes:g}")
    seconds = seconds_per_step([f"+experiment={arguments.experiment}", *overrides])
    sys.stdout.write(f"{max(1, int(SPARE * 60 * arguments.minutes / seconds))}\n")


def seconds_per_step(overrides: Sequence[str]) -> float:
    """How long a step of this training takes on this machine, data included; leaves nothing behind."""
    brief = ("trainer.limit_val_batches=0", f"total_steps={TIMED}", "resume=null")
    with tempfile.TemporaryDirectory() as folder:
        cfg = compose_config("train", [*overrides, *brief, f"paths.output_dir={folder}"])
        if "block" in cfg.data:  # let all kinds of samples come soon, not one kind for many steps
            cfg.data.block = cfg.data.batch_size
        set_up_process(cfg)
        clock = Clock()
        trainer = build_trainer(cfg, [clock], logger=False)
        trainer.fit(build_module(cfg, fresh=True), build_data(cfg))
    return clock.seconds_per_step


if __name__ == "__main__":
    sys.exit(main())
