"""What happens when the loss is not a number: skip the step on all ranks, note it, stop if it goes on."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


MOST_STATES = 10  # that are kept of one run: each is as large as the net


class NonFiniteLoss(ValueError):
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
        saved = self._write(path, {"names": list(names), "terms": values, "state_dict": net.state_dict()})
        log.warning("step refused: not finite on some rank; here %s on %s; see %s", values, names, saved)
        if self.in_a_row >= self.patience:
            raise NonFiniteLoss(
                f"the loss or its gradients were not finite in {self.in_a_row} steps in a row; "
                f"the last clips were {', '.join(names)} and the terms {values}; see {saved}"
            )

    def _write(self, path: Path, state: dict) -> str:
        """Where a state was written to, or why it was not: a full disk is no reason to stop."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if len(list(self.directory.glob("*.pt"))) >= MOST_STATES:
                return f"{self.directory}, which is full: {MOST_STATES} states of others"
            torch.save(state, path)
        except (OSError, RuntimeError) as error:
            path.unlink(missing_ok=True)
            return f"nothing, {path} could not be written: {error}"
        return str(path)
