"""Validation by what matching is for: the relative pose of two views, of the averaged weights."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from torch import nn
from torch.func import functional_call

from retracker.training.ranks import of_all_ranks

Scores = Mapping[str, float]


@runtime_checkable
class PairScorer(Protocol):
    """Posed pairs, and how a net is measured on them."""

    def __len__(self) -> int: ...

    def score(self, net: nn.Module, index: int) -> Scores:
        """One pair's scores of a net in eval mode."""

    def summarise(self, scores: Mapping[int, Scores]) -> Scores:
        """What all pairs' scores, by index, come to."""


class PoseValidation(pl.Callback):
    """After each validation, log ``val/pose_<name>`` of posed pairs, which all processes share.

    ``trainer.limit_val_batches`` limits pairs, too.
    """

    def __init__(self, scorer: PairScorer) -> None:
        self.scorer = scorer

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        limit, total = trainer.limit_val_batches, len(self.scorer)
        num = min(limit, total) if isinstance(limit, int) else max(1, round(limit * total))
        own = range(trainer.global_rank, num, trainer.world_size)
        scores = with_weights(pl_module.net, pl_module.averaged(), lambda net: self._scores(net, own))
        found = self.scorer.summarise(gathered(scores, trainer.world_size))
        pl_module.log_dict({f"val/pose_{name}": value for name, value in found.items()})

    def _scores(self, net: nn.Module, indices: range) -> dict[int, Scores]:
        return {index: self.scorer.score(net, index) for index in indices}


class Using(nn.Module):
    """A net that is handed, as it is, to whoever has a use for it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, use: Callable[[nn.Module], object]) -> object:
        return use(self.net)


def with_weights(
    net: nn.Module, weights: Mapping[str, torch.Tensor], use: Callable[[nn.Module], dict]
) -> dict:
    """What ``use`` makes of a net that has other weights meanwhile, whichever of its methods it calls."""
    return functional_call(Using(net), {f"net.{name}": value for name, value in weights.items()}, (use,))


def gathered(scores: Mapping[int, Scores], world_size: int) -> dict[int, Scores]:
    """The scores of all processes, in the order of pairs."""
    return dict(sorted(pair for part in of_all_ranks(dict(scores), world_size) for pair in part.items()))
