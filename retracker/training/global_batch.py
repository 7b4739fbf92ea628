"""How many clips one step of the optimiser takes in, however many processes there are."""

from collections.abc import Callable
from dataclasses import dataclass

import pytorch_lightning as pl


@dataclass(frozen=True, kw_only=True)
class StepSize:
    """What one step is made of."""

    batch_size: int  # clips of one batch of one process
    accumulate: int  # batches of each process
    world_size: int

    @property
    def clips(self) -> int:
        """All clips of one step."""
        return self.batch_size * self.accumulate * self.world_size


def step_size(trainer: pl.Trainer) -> StepSize:
    """That of a trainer whose data are a ``StreamModule``."""
    return StepSize(
        batch_size=trainer.datamodule.batch_size,
        accumulate=trainer.accumulate_grad_batches,
        world_size=trainer.world_size,
    )


def keep_global_batch(trainer: pl.Trainer, clips: int | None, batch_size: int) -> None:
    """Let a step have ``clips`` clips by accumulating gradients, and validation count steps; None: as it is.

    Raises ValueError where so many cannot be dealt out evenly.
    """
    if clips is None:
        return
    at_once = batch_size * trainer.world_size
    if not isinstance(clips, int) or clips < 1 or clips % at_once:
        raise ValueError(
            f"global_batch: must be a multiple of the {at_once} clips of one batch of all processes "
            f"({trainer.world_size} of data.batch_size={batch_size}), got {clips!r}"
        )
    if trainer.accumulate_grad_batches != 1:
        raise ValueError("global_batch chooses trainer.accumulate_grad_batches: leave that at 1")
    trainer.accumulate_grad_batches = clips // at_once
    if isinstance(trainer.val_check_interval, int):
        trainer.val_check_interval *= trainer.accumulate_grad_batches


def go_on(checkpoint: dict, now: StepSize, rate_factor: Callable[[int], float]) -> None:
    """Let a run of other steps go on with those of ``now``: batches count anew, and learning rates follow.

    ``rate_factor``: of a number of clips per step.
    """
    before = StepSize(**checkpoint["step_size"]) if "step_size" in checkpoint else now
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    # A validation may save within a step of several batches, whose gradients are lost: take it again.
    rest = progress["current"]["ready"] % before.accumulate
    for counts in (progress["current"], progress["total"]):
        done = counts["ready"] - rest
        steps, closing = done // before.accumulate, counts["ready"] - counts["completed"]
        done = done if before.accumulate == now.accumulate else steps * now.accumulate
        counts.update(ready=done, started=done, processed=done, completed=done - closing)
    factor = rate_factor(now.clips) / rate_factor(before.clips)
    for group in (group for state in checkpoint["optimizer_states"] for group in state["param_groups"]):
        group.update({name: group[name] * factor for name in ("lr", "initial_lr") if name in group})
    for schedule in checkpoint["lr_schedulers"]:
        schedule.update(
            {name: [rate * factor for rate in schedule[name]] for name in ("base_lrs", "_last_lr")}
        )
