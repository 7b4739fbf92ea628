# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What training any net has in common: averaged weights, refused steps, and what a checkpoint must hold."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from retracker.training.average import WeightAverage
from retracker.training.guard import NonFiniteGuard
from retracker.training.scores import ScoreSheet
from retracker.types import TensorStruct


class NetModule(pl.LightningModule, ABC):
    """Train ``net`` on batches that have a ``name``; a subclass predicts, scores and validates.

    In validation the averaged weights count: ``averaged()``, for ``functional_call``.
    """

    def __init__(
        self,
        net: nn.Module,
        net_config: Mapping,
        loss: nn.Module,
        optimisation: Callable[[nn.Module], tuple[Optimizer, LambdaLR]],
        ema_decay: float,
        guard: NonFiniteGuard,
        score_names: Sequence[str],
    ) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.net_config, self.optimisation = dict(net_config), optimisation
        self.ema_decay, self.guard = ema_decay, guard
        self.score_names, self.scores = score_names, ScoreSheet(score_names)
        self.average: WeightAverage | None = None
        self._refused = False  # whether the optimiser's next step must not be taken

    @abstractmethod
    def attempt(self, batch: TensorStruct) -> tuple[object, Tensor, dict[str, Tensor]]:
        """The net's prediction for a batch of training, its loss, and the loss's terms."""

    @abstractmethod
    def training_scores(self, prediction: object, batch: TensorStruct) -> Mapping[str, Tensor]:
        """Scores of each sample of a training batch; NaN where one has none."""

    @abstractmethod
    def batch_length(self, batch: TensorStruct) -> int:
        """How many samples a batch has."""

    def setup(self, stage: str) -> None:
        """Start the average from the weights at hand; a checkpoint replaces it afterwards."""
        if stage == "fit":
            self.average = WeightAverage(self.net, self.ema_decay)

    def on_fit_start(self) -> None:
        self.average.to(self.device)

    def averaged(self) -> Mapping[str, Tensor]:
        """The weights to validate; none before training: the net's own then."""
        return {} if self.average is None else self.average.weights

    def training_step(self, batch: TensorStruct, batch_idx: int) -> Tensor:
        """The loss of a batch; where it is not finite on some rank, all refuse the optimiser's next step."""
        prediction, loss, terms = self.attempt(batch)
        finite = self.trainer.strategy.reduce_boolean_decision(bool(loss.isfinite()))
        if not self._refused:  # else what spoilt the step is to be written down, not what came after it
            self._terms = {name: value.detach() for name, value in (terms | {"loss": loss}).items()}
            self._names = batch.name
        self._refused |= not finite
        if not self._refused:
            self._log_training(prediction, batch)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop gradients that are not finite: without gradients the optimiser leaves the weights alone."""
        norm = nn.utils.get_total_norm(p.grad for p in self.net.parameters() if p.grad is not None)
        # One answer for all: ranks that disagree about a step have different weights from there on.
        finite = self.trainer.strategy.reduce_boolean_decision(bool(norm.isfinite()))
        self._refused |= not finite
        if not self._refused:
            self.guard.accept()
            self.log("norm/gradient", norm)
            return
        optimizer.zero_grad(set_to_none=True)
        place = f"step{self.global_step}_rank{self.global_rank}"
        self.guard.refuse(self.net, self._terms | {"gradient": norm}, self._names, place)

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer, optimizer_closure=None) -> None:
        """Take the step and average it in at once: callbacks save before this module's own batch-end hook."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if not self._refused:
            self.average.update(self.net)
        self._refused = False

    def on_validation_epoch_end(self) -> None:
        means = self.scores.means(lambda x: self.trainer.strategy.reduce(x, reduce_op="sum"), self.device)
        self.log_dict({f"val/{name}": value for name, value in means.items()})
        self.scores = ScoreSheet(self.score_names)

    def configure_optimizers(self) -> dict:
        optimizer, schedule = self.optimisation(self.net)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """A checkpoint rebuilds its net alone: the configuration goes in, as a plain dict."""
        checkpoint["net_config"] = self.net_config
        checkpoint["ema_state_dict"] = self.average.weights
        checkpoint["ema_updates"] = self.average.num_updates
        checkpoint["refused_in_a_row"] = self.guard.in_a_row

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.average.restore(checkpoint["ema_state_dict"], checkpoint["ema_updates"])
        self.guard.in_a_row = checkpoint["refused_in_a_row"]
        # A validation may save within a step of several batches, whose gradients are lost: take it again.
        batches = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        batches["completed"] -= batches["ready"] % self.trainer.accumulate_grad_batches

    def _log_training(self, prediction: object, batch: TensorStruct) -> None:
        length = self.batch_length(batch)
        self.log_dict({f"train/{k}": v for k, v in self._terms.items()}, batch_size=length)
        if (self.global_step + 1) % self.trainer.log_every_n_steps:  # Lightning counts steps done
            return
        scores = {
            name: value[value.isfinite()] for name, value in self.training_scores(prediction, batch).items()
        }
        means = {f"train/{name}": value.mean() for name, value in scores.items() if len(value)}
        self.log_dict(means, batch_size=length)
        parameters = torch.stack([p.detach().norm() for p in self.net.parameters()])
        self.log("norm/parameters", parameters.norm())
