# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What training any net has in common: averaged weights, refused steps, and what a checkpoint must hold."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from retracker.training.average import WeightAverage
from retracker.training.global_batch import go_on, step_size
from retracker.training.guard import NonFiniteGuard
from retracker.training.optimisation import Optimisation
from retracker.training.ranks import summed
from retracker.training.scores import ScoreSheet
from retracker.training.step_means import StepMeans
from retracker.types import TensorStruct


@dataclass(frozen=True)
class Tried:
    """A batch of the step under way."""

    names: tuple[str, ...]
    terms: Mapping[str, Tensor]


class NetModule(pl.LightningModule, ABC):
    """Train ``net`` on batches that have a ``name``; a subclass predicts, scores and validates.

    In validation the averaged weights count: ``averaged()``, for ``functional_call``.
    """

    def __init__(
        self,
        net: nn.Module,
        net_config: Mapping,
        loss: nn.Module,
        optimisation: Optimisation,
        ema_decay: float,
        guard: NonFiniteGuard,
        score_names: Sequence[str],
    ) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.net_config, self.optimisation = dict(net_config), optimisation
        self.ema_decay, self.guard = ema_decay, guard
        self.score_names, self.scores = score_names, ScoreSheet(score_names)
        self.means = StepMeans()
        self.average: WeightAverage | None = None
        self._tried: list[Tried] = []  # batches of the step under way
        self._refused = False  # whether the optimiser's next step must not be taken
        self.wants_to_stop = False  # for callbacks: to be set on any rank before a step is taken
        self.all_stop = False  # since the last step: whether it was, on some rank

    @abstractmethod
    def attempt(self, batch: TensorStruct) -> tuple[object, Tensor, dict[str, Tensor]]:
        """The net's prediction for a batch of training, its loss, and the loss's terms."""

    @abstractmethod
    def training_scores(self, prediction: object, batch: TensorStruct) -> Mapping[str, Tensor]:
        """Scores of each sample of a training batch; NaN where one has none."""

    @abstractmethod
    def batch_length(self, batch: TensorStruct) -> int:
        """How many samples a batch has."""

    @abstractmethod
    def num_frames(self, batch: TensorStruct) -> int:
        """How many frames each sample of a batch has."""

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
        """The loss of a batch. Whether it is finite is asked once for all batches of a step."""
        prediction, loss, terms = self.attempt(batch)
        terms = {name: value.detach() for name, value in (terms | {"loss": loss}).items()}
        self._tried.append(Tried(names=batch.name, terms=terms))
        self._note(prediction, batch, terms)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop gradients that are not finite: without gradients the optimiser leaves the weights alone."""
        norm = nn.utils.get_total_norm(p.grad for p in self.net.parameters() if p.grad is not None)
        tried, self._tried = self._tried, []
        self._refused = self._agree(torch.stack([batch.terms["loss"] for batch in tried] + [norm]))
        if not self._refused:
            self.guard.accept()
            self._log_step(norm)
            return
        self.means = StepMeans()
        optimizer.zero_grad(set_to_none=True)
        place = f"step{self.global_step}_rank{self.global_rank}"
        spoilt = [batch for batch in tried if not batch.terms["loss"].isfinite()]
        shown = (spoilt or tried[-1:])[0]  # what spoilt the step, not what came after it
        self.guard.refuse(self.net, shown.terms | {"gradient": norm}, shown.names, place)

    def _agree(self, values: Float[Tensor, " values"]) -> bool:
        """Whether a value is not finite on some rank; and whether some rank wants to stop.

        The one number that ranks exchange in a step beside gradients, and the one place where the host waits.
        """
        told = torch.stack([~values.isfinite().all(), values.new_tensor(self.wants_to_stop).bool()])
        spoilt, stops = summed(told.float(), self.trainer.world_size).tolist()
        self.all_stop = stops > 0
        return spoilt > 0

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
        optimizer, schedule = self.optimisation(self.net, step_size(self.trainer).clips)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """A checkpoint rebuilds its net alone: the configuration goes in, as a plain dict."""
        checkpoint["net_config"] = self.net_config
        checkpoint["ema_state_dict"] = self.average.weights
        checkpoint["ema_updates"] = self.average.num_updates
        checkpoint["refused_in_a_row"] = self.guard.in_a_row
        checkpoint["step_size"] = asdict(step_size(self.trainer))

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        self.average.restore(checkpoint["ema_state_dict"], checkpoint["ema_updates"])
        self.guard.in_a_row = checkpoint["refused_in_a_row"]
        go_on(checkpoint, step_size(self.trainer), self.optimisation.factor)

    def _note(self, prediction: object, batch: TensorStruct, terms: Mapping[str, Tensor]) -> None:
        """Keep what is to be logged of a batch; only in steps that are."""
        if self._is_logged():
            self.means.add_means(terms, self.batch_length(batch))
            self.means.add_clips(self.training_scores(prediction, batch))

    def _log_step(self, gradient: Tensor) -> None:
        """Log the step that is about to be taken: its loss, terms and scores over all batches and ranks."""
        if self._is_logged():
            means = self.means.take(self.trainer.world_size)
            self.log_dict({f"train/{name}": value for name, value in means.items()})
            parameters = torch.stack([p.detach().norm() for p in self.net.parameters()])
            self.log_dict({"norm/parameters": parameters.norm(), "norm/gradient": gradient})
            self.log_dict({f"norm_of/{name}": value for name, value in norms_of_parts(self.net).items()})

    def _is_logged(self) -> bool:
        return (self.global_step + 1) % self.trainer.log_every_n_steps == 0  # Lightning counts steps done


def norms_of_parts(net: nn.Module) -> dict[str, Float[Tensor, ""]]:
    """The norms of the trainable weights, and of their gradients, of each child of a net that has some."""
    norms = {}
    for name, part in net.named_children():
        weights = [weight.detach() for weight in part.parameters() if weight.requires_grad]
        gradients = [weight.grad for weight in part.parameters() if weight.grad is not None]
        if weights:
            norms[f"{name}/parameters"] = nn.utils.get_total_norm(weights)
            norms[f"{name}/gradient"] = nn.utils.get_total_norm(gradients)
    return norms
