"""Memory for time: what is computed again in the backward pass instead of kept (Chen et al. 2016)."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Made = TypeVar("Made")
Row = TypeVar("Row", bound=Sequence | Tensor)


def kept(part: Callable[..., Made], *given: object) -> Made:
    """What ``part`` makes of what is given."""
    return part(*given)


def computed_again(part: Callable[..., Made], *given: object) -> Made:
    """The same, but of what happens inside nothing is kept: it happens again when gradients are due."""
    return checkpoint(part, *given, use_reentrant=False) if torch.is_grad_enabled() else part(*given)


def portions(row: Row, size: int) -> list[Row]:
    """Cut a row into parts of ``size``, the last one perhaps shorter; 0: it stays whole."""
    return [row[first : first + size] for first in range(0, len(row), size)] if size else [row]
