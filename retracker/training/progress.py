# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""A progress bar in steps, with the loss and the validation metric beside it."""

import logging

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
    """Show steps, loss and a validation metric; without a terminal, a line every few steps instead."""

    def __init__(self, metric: str, every_n_steps: int) -> None:
        self.metric, self.every_n_steps = metric, every_n_steps
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
        text = self._text(trainer)
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=trainer.global_step, description=text)
        elif trainer.is_global_zero and trainer.global_step % self.every_n_steps == 0:
            log.info("step %d/%d  %s", trainer.global_step, trainer.max_steps, text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _text(self, trainer: pl.Trainer) -> str:
        shown = {"loss": "train/loss", self.metric.removeprefix("val/"): self.metric}
        values = trainer.callback_metrics
        return "  ".join(f"{short} {values[name]:.3f}" for short, name in shown.items() if name in values)
