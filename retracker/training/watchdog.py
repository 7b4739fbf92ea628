# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""A process that waits for ever is ended, and says where it stood, so that the job can be started again."""

import faulthandler
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

from retracker.host import HUNG

log = logging.getLogger(__name__)

TURNS = 20  # how often a limit is looked at while it passes
LONGEST_TURN = 5.0  # s


@dataclass(frozen=True)
class Mark:
    """What a process began to do, at which step, and how long that may take."""

    doing: str
    step: int
    limit_s: float | int


class Watchdog(pl.Callback):
    """End the process with the stacks of all its threads when it makes no progress.

    ``timeout_s``: how long a batch may take, or the next one to come; ``slow_timeout_s``: what is known to
    take longer, which is the start, the first batch (compilation), the first of a validation, and saving. The
    other processes then lose their peer and end as well, or hang and are ended by their own watchdogs.
    """

    def __init__(self, timeout_s: float | int, slow_timeout_s: float | int, directory: str) -> None:
        if not 0 < timeout_s <= slow_timeout_s:
            raise ValueError(
                f"watchdog: expected 0 < timeout_s <= slow_timeout_s, got {timeout_s} and {slow_timeout_s}"
            )
        self.timeout_s, self.slow_timeout_s = timeout_s, slow_timeout_s
        self.directory = Path(directory)
        self.turn_s = min(timeout_s / TURNS, LONGEST_TURN)
        self._rank, self._mark, self._warm = 0, Mark("starting", 0, slow_timeout_s), False
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def stacks(self) -> Path:
        """Where this process writes what it was doing."""
        return self.directory / f"rank{self._rank}.txt"

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._rank, self._warm = trainer.global_rank, False
        self._note(trainer, "starting", slow=True)
        self._over.clear()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note(trainer, "waiting for the first batch", slow=True)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._note(trainer, f"in training batch {batch_idx}", slow=not self._warm)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._warm = True
        self._note(trainer, "waiting for the next batch or for other processes")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note(trainer, "waiting for the first batch of a validation", slow=True)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self._note(trainer, f"in validation batch {batch_idx}", slow=batch_idx == 0)

    def on_validation_batch_end(
        self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0
    ) -> None:
        self._note(trainer, "waiting for the next batch of a validation", slow=True)  # or for its scores

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict
    ) -> None:
        self._note(trainer, "saving a checkpoint", slow=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._note(trainer, "ending", slow=True)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._stop()

    def _note(self, trainer: pl.Trainer, doing: str, *, slow: bool = False) -> None:
        self._mark = Mark(doing, trainer.global_step, self.slow_timeout_s if slow else self.timeout_s)

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        """Count how long the mark has not changed, in turns: a process that was suspended has not waited."""
        seen, waited, last = self._mark, 0.0, time.monotonic()
        while not self._over.wait(self.turn_s):
            # Should even this thread get no turn, the C library ends the process.
            faulthandler.dump_traceback_later(2 * self.slow_timeout_s, exit=True, file=sys.__stderr__)
            now = time.monotonic()
            waited, last = waited + min(now - last, 2 * self.turn_s), now
            if self._mark is not seen:
                seen, waited = self._mark, 0.0
            elif waited > seen.limit_s:
                self._end(seen, waited)

    def _end(self, mark: Mark, waited: float) -> None:
        said = (
            f"rank {self._rank} hangs: no progress for {waited:.0f} s at step {mark.step}, {mark.doing} "
            f"(pid {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}). It ends with exit code {HUNG}; "
            "the line of its main thread that is topmost below says what it waited for"
        )
        log.error("%s: %s", said, self.stacks)
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with self.stacks.open("a") as file:
                file.write(f"{said}\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
        finally:  # also where nothing can be written
            os._exit(HUNG)  # the main thread is beyond reach: it waits in a library
