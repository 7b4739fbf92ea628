"""What happens when the loss is not a number: skip the step on all ranks, note it, stop if it goes on."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class NonFiniteLoss(RuntimeError):
    """The loss or its gradients were not finite in too many steps running."""


class NonFiniteGuard:
    """Count refused steps in a row; the ``patience``-th stops the run. No number is ever patched."""

    def __init__(self, patience: int, directory: str) -> None:
        self.patience, self.directory = patience, Path(directory)
        self.in_a_row = 0

    def accept(self) -> None:
        """A step went well."""
        self.in_a_row = 0

    def refuse(self, net: nn.Module, terms: Mapping[str, Tensor], names: tuple[str, ...], place: str) -> None:
        """Write down what was being learnt when it happened; raises NonFiniteLoss when patience is at an end.

        ``place`` says step and rank: it names the file.
        """
        self.in_a_row += 1
        values = {name: float(value.detach()) for name, value in terms.items()}
        path = self.directory / f"{place}.pt"
        self.directory.mkdir(parents=True, exist_ok=True)
        torch.save({"names": list(names), "terms": values, "state_dict": net.state_dict()}, path)
        log.warning("step refused: not finite on some rank; here %s on %s; see %s", values, names, path)
        if self.in_a_row >= self.patience:
            raise NonFiniteLoss(
                f"the loss or its gradients were not finite in {self.in_a_row} steps in a row; "
                f"the last clips were {', '.join(names)} and the terms {values}; state saved in {path}"
            )
