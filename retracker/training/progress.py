# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""A progress bar in steps, with the loss and whatever else counts beside it."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

log = logging.getLogger(__name__)


class ProgressBar(pl.Callback):
    """Show steps, loss and some of what is logged; without a terminal, a line every few steps instead.

    ``metrics``: names such as train/PCK@1 and val/AJ; one of validation is shown with its "val".
    """

    def __init__(self, metrics: Sequence[str], every_n_steps: int) -> None:
        self.metrics, self.every_n_steps = ("train/loss", *metrics), every_n_steps
        self._progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        console = Console(stderr=True)
        if not trainer.is_global_zero or not console.is_terminal:
            return
        columns = (
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
        self._progress.add_task("", total=trainer.max_steps, completed=trainer.global_step)
        self._progress.start()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        step = trainer.global_step
        if self._progress is not None:
            # To be read, a number must come from the GPU, for which the host waits: when it is logged anyhow.
            told = {} if step % trainer.log_every_n_steps else {"description": self._text(trainer)}
            self._progress.update(self._progress.task_ids[0], completed=step, **told)
        elif trainer.is_global_zero and step % self.every_n_steps == 0:
            log.info("step %d/%d  %s", step, trainer.max_steps, self._text(trainer))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _text(self, trainer) -> str:
        values = trainer.callback_metrics
        shown = [(name.removeprefix("train/").replace("/", " "), values.get(name)) for name in self.metrics]
        return "  ".join(f"{words} {value:.3f}" for words, value in shown if value is not None)
