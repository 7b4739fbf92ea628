# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What runs beside training: checkpoints that are never half a file."""

import logging
import signal
from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch

from retracker.checkpoint import clear_unfinished, write_atomically
from retracker.host import free_space

log = logging.getLogger(__name__)

MEGABYTE = 2**20
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what clusters send before they take the machine away


class Preempted(Exception):
    """Validation is not gone on with, since the run was told to stop."""


class Checkpoints(pl.Callback):
    """Keep the last states and the best one by a validation metric; on SIGTERM or SIGUSR1 save and stop.

    ``keep``: how many of the last states. A state that cannot be saved is told of and training goes on: the
    files of before stay. After ``max_failures`` in a row, or at the end, it raises OSError.
    """

    def __init__(
        self, directory: str, monitor: str, mode: str, every_n_steps: int, keep: int, max_failures: int
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"checkpoints: mode is max or min, not {mode!r}")
        if keep < 1 or max_failures < 1:
            raise ValueError(
                f"checkpoints: keep and max_failures must be at least 1, got {keep} and {max_failures}"
            )
        self.directory, self.monitor, self.mode = Path(directory), monitor, mode
        self.every_n_steps, self.keep, self.max_failures = every_n_steps, keep, max_failures
        self.best: float | None = None
        self.signalled, self.stopped = False, False  # this process; all of them, in answer
        self._failures, self._failed_at = 0, -1  # how many in a row, and at which step the last one
        self._saved: tuple[int, float | None] | None = None  # step and best value of last.ckpt
        self._before: dict[int, object] = {}
        self._told_of_monitor = False

    @property
    def last_path(self) -> Path:
        """The newest state, to resume from."""
        return self.directory / "last.ckpt"

    @property
    def best_path(self) -> Path:
        """The state with the best value of the monitored metric."""
        return self.directory / "best.ckpt"

    @property
    def unsaved(self) -> bool:
        """Whether the latest state could not be saved: what went before it is all that there is."""
        return self._failures > 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero and (left := clear_unfinished(self.directory)):
            log.info("removed what a killed run had not finished writing: %s", ", ".join(map(str, left)))
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        # Lightning's own handlers talk to the other ranks at once, whatever these are doing: for ever.
        trainer._signal_connector.register_signal_handlers = lambda: None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        first = trainer.strategy.broadcast(trainer.global_step)
        if not trainer.strategy.reduce_boolean_decision(first == trainer.global_step):
            raise RuntimeError(
                f"processes resumed from different checkpoints: rank {trainer.global_rank} from step "
                f"{trainer.global_step}, rank 0 from step {first}; start again"
            )

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        pl_module.wants_to_stop = self.signalled

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not _steps_now(trainer, batch_idx):
            return
        self.stopped = pl_module.all_stop
        if self.stopped:
            log.warning("signal received at step %d: saving and stopping", trainer.global_step)
            self._save_last(trainer)  # at once: whoever sent it will not wait for a validation
            trainer.should_stop, trainer.limit_val_batches = True, 0
        elif trainer.global_step % self.every_n_steps == 0:
            self._save_last(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._save_last(trainer)  # validation takes long, and may be broken off

    def on_validation_batch_end(self, trainer, pl_module, *args, **kwargs) -> None:
        if not trainer.sanity_checking and self._told_to_stop(trainer):
            log.warning("signal received in the validation at step %d: stopping", trainer.global_step)
            raise Preempted

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            self._tell_of_monitor(trainer)
            return
        value = float(value)
        better = self.best is None or (value > self.best if self.mode == "max" else value < self.best)
        if better:
            before, self.best = self.best, value
            if not self._keep_trying(trainer, self.best_path, keep=1):
                self.best = before

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_last(trainer, at_the_end=not self.stopped)
        self._let_go()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._let_go()

    def state_dict(self) -> dict:
        return {"best": self.best}

    def load_state_dict(self, state: Mapping) -> None:
        self.best = state["best"]

    def _save_last(self, trainer: pl.Trainer, *, at_the_end: bool = False) -> None:
        state = (trainer.global_step, self.best)
        if state != self._saved and self._keep_trying(trainer, self.last_path, self.keep, final=at_the_end):
            self._saved = state

    def _keep_trying(self, trainer: pl.Trainer, path: Path, keep: int, *, final: bool = False) -> bool:
        """Whether the state could be saved: the same on all ranks."""
        if self._failed_at == trainer.global_step and not final:
            return False  # there is no more room than a moment ago
        try:
            save(trainer, path, keep)
        except OSError as error:
            self._failures, self._failed_at = self._failures + 1, trainer.global_step
            if final:
                raise
            if self._failures >= self.max_failures and not self.stopped:
                raise OSError(f"{error}. Stopped after {self._failures} saves in a row that failed") from None
            if trainer.is_global_zero:
                now = "The run stops" if self.stopped else "Training goes on"
                log.warning("%s. %s (failure %d of %d)", error, now, self._failures, self.max_failures)
            return False
        self._failures, self._failed_at = 0, -1
        return True

    def _tell_of_monitor(self, trainer: pl.Trainer) -> None:
        """Once: that this validation did not measure what the best state is chosen by, and what it did."""
        measured = [name for name in sorted(trainer.callback_metrics) if name.startswith("val/")]
        if measured and trainer.is_global_zero and not self._told_of_monitor:
            log.warning(
                "no best.ckpt is kept: this validation did not measure callbacks.checkpoints.monitor=%s; "
                "it measured %s",
                self.monitor,
                ", ".join(measured),
            )
        self._told_of_monitor |= bool(measured)

    def _told_to_stop(self, trainer: pl.Trainer) -> bool:
        self.stopped = trainer.strategy.reduce_boolean_decision(self.signalled, all=False)
        return self.stopped

    def _let_go(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: object) -> None:
        self.signalled = True  # the step under way is finished first


def save(trainer: pl.Trainer, path: Path, keep: int) -> None:
    """Write the state of a run to ``path``, atomically. To be called on all ranks; all raise if it fails."""
    state = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)  # not the weights alone
    fault = None
    if trainer.is_global_zero:
        try:
            write_atomically(state, path, keep=keep)
        except (OSError, RuntimeError, ValueError) as error:
            fault = error
    # Also a barrier: no rank goes on before the file is there, or waits for one that will not come.
    if trainer.strategy.reduce_boolean_decision(fault is not None, all=False):
        why = "see rank 0" if fault is None else f"{fault}; {_room(state, path)}"
        raise OSError(f"{path}: the checkpoint could not be written: {why}") from None


def _room(state: object, path: Path) -> str:
    """What there is to write to and what is needed, and what to do if that is the trouble."""
    free, needed = free_space(path) / MEGABYTE, num_bytes(state) / MEGABYTE
    advice = "resume=auto goes on from the last one that could"
    if free < needed:
        advice += "; make room, lower callbacks.checkpoints.keep, or say paths.output_dir=<elsewhere>"
    return f"{free:.0f} MB are free and {needed:.0f} MB needed; {advice}"


def num_bytes(state: object) -> int:
    """How much the tensors of nested containers take."""
    if isinstance(state, torch.Tensor):
        return state.nbytes
    if isinstance(state, Mapping):
        return sum(num_bytes(part) for part in state.values())
    return sum(num_bytes(part) for part in state) if isinstance(state, list | tuple) else 0


def _steps_now(trainer: pl.Trainer, batch_idx: int) -> bool:
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0
