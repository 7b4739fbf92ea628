"""How the learning rate moves over a run: warm-up, then one-cycle, cosine or exponential."""

from collections.abc import Callable
from math import cos, pi

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def onecycle(optimizer: Optimizer, total_steps: int, warmup_share: float, final: float) -> LambdaLR:
    """Rise linearly to the full rate, then fall linearly to ``final`` of it (as CoTracker does)."""
    return _after_warmup(optimizer, total_steps, warmup_share, lambda t: 1 + (final - 1) * t)


def cosine(optimizer: Optimizer, total_steps: int, warmup_share: float, final: float) -> LambdaLR:
    """Rise linearly to the full rate, then fall to ``final`` of it along half a cosine."""
    return _after_warmup(
        optimizer, total_steps, warmup_share, lambda t: final + (1 - final) * (1 + cos(pi * t)) / 2
    )


def exponential(optimizer: Optimizer, total_steps: int, warmup_share: float, final: float) -> LambdaLR:
    """Rise linearly to the full rate, then fall by the same factor every step, to ``final`` of it."""
    return _after_warmup(optimizer, total_steps, warmup_share, lambda t: final**t)


def _after_warmup(
    optimizer: Optimizer, total_steps: int, warmup_share: float, decay: Callable[[float], float]
) -> LambdaLR:
    """``decay`` is given the share of the way from the end of the warm-up to ``total_steps``, in [0, 1]."""
    if total_steps < 1 or not 0 <= warmup_share < 1:
        raise ValueError(
            f"schedule: total_steps must be >= 1, warmup_share in [0, 1); not {total_steps}, {warmup_share}"
        )
    warmup_steps = int(warmup_share * total_steps)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return decay(min(1.0, (step - warmup_steps) / (total_steps - warmup_steps)))

    return LambdaLR(optimizer, factor)
