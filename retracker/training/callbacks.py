# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What runs beside training: checkpoints that are never half a file."""

import logging
import signal
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl

from retracker.checkpoint import write_atomically

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what clusters send before they take the machine away


class Checkpoints(pl.Callback):
    """Keep the last state and the best one by a validation metric; on SIGTERM or SIGUSR1 save and stop."""

    def __init__(self, directory: str, monitor: str, mode: str, every_n_steps: int) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"checkpoints: mode is max or min, not {mode!r}")
        self.directory, self.monitor, self.mode = Path(directory), monitor, mode
        self.every_n_steps = every_n_steps
        self.best: float | None = None
        self.signalled = False
        self._before: dict[int, object] = {}

    @property
    def last_path(self) -> Path:
        """The newest state, to resume from."""
        return self.directory / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """The state with the best value of the monitored metric."""
        return self.directory / "best.ckpt"

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        pl_module.wants_to_stop = self.signalled

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not _steps_now(trainer, batch_idx):
            return
        if pl_module.all_stop:
            log.warning("signal received at step %d: saving and stopping", trainer.global_step)
            save(trainer, self.last_path)  # at once: whoever sent it will not wait for a validation
            trainer.should_stop, trainer.limit_val_batches = True, 0
        elif trainer.global_step % self.every_n_steps == 0:
            save(trainer, self.last_path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or value is None:
            return
        value = float(value)
        better = self.best is None or (value > self.best if self.mode == "max" else value < self.best)
        if better:
            self.best = value
            save(trainer, self.best_path)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        save(trainer, self.last_path)
        self._let_go()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._let_go()

    def _let_go(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping) -> None:
        self.best = state["best"]

    def _note(self, number: int, frame: object) -> None:
        self.signalled = True  # the step under way is finished first


def save(trainer: pl.Trainer, path: Path) -> None:
    """Write the state of a run to ``path``, atomically. To be called on all ranks; all raise if it fails."""
    state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # not the weights alone
    fault = None
    if trainer.is_global_zero:
        try:
            write_atomically(state, path)
        except (OSError, RuntimeError, ValueError) as error:
            fault = error
    # Also a barrier: no rank goes on before the file is there, or waits for one that will not come.
    if trainer.strategy.reduce_boolean_decision(fault is not None, all=False):
        raise OSError(f"{path}: the checkpoint could not be written: {fault or 'see rank 0'}") from fault


def _steps_now(trainer: pl.Trainer, batch_idx: int) -> bool:
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0
