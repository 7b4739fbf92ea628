# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""One training step, one validation step, and what a checkpoint must hold besides the weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from retracker.losses.dense import anchor_grid
from retracker.training.average import WeightAverage
from retracker.training.guard import NonFiniteGuard
from retracker.training.scores import VALIDATION_SCORES, ScoreSheet, pck_scores, tapvid_scores
from retracker.types import Prediction, VideoSample


@dataclass(frozen=True)
class Supervision:
    """What the net is given in training beyond the video and the queries."""

    forced_writes_until: (
        int  # step before which true visibility, not the net's own, decides what is remembered
    )
    num_anchors: int  # extra points of frame 0 for global matching, where the clip has dense flow; 0: none


class TrackingModule(pl.LightningModule):
    """Train a tracker on clips; validate its averaged weights."""

    def __init__(
        self,
        net: nn.Module,
        net_config: Mapping,
        loss: nn.Module,
        optimisation: Callable[[nn.Module], tuple[Optimizer, LambdaLR]],
        supervision: Supervision,
        ema_decay: float,
        guard: NonFiniteGuard,
    ) -> None:
        super().__init__()
        self.net, self.loss = net, loss
        self.net_config, self.optimisation, self.supervision = dict(net_config), optimisation, supervision
        self.ema_decay, self.guard, self.scores = ema_decay, guard, ScoreSheet(VALIDATION_SCORES)
        self.average: WeightAverage | None = None
        self._refused = False  # whether the optimiser's next step must not be taken

    def setup(self, stage: str) -> None:
        """Start the average from the weights at hand; a checkpoint replaces it afterwards."""
        if stage == "fit":
            self.average = WeightAverage(self.net, self.ema_decay)

    def on_fit_start(self) -> None:
        self.average.to(self.device)

    def training_step(self, batch: VideoSample, batch_idx: int) -> Tensor:
        """The loss of a batch; where it is not finite on some rank, all refuse the optimiser's next step."""
        forced = self.global_step < self.supervision.forced_writes_until
        prediction = self.net(
            batch.video,
            batch.queries,
            anchors=self._anchors(batch),
            noise=batch.noise,
            seen=batch.visible if forced else None,
        )
        loss, terms = self._loss(prediction, batch)
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
        self._refused |= not norm.isfinite()
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

    def validation_step(self, batch: VideoSample, batch_idx: int) -> dict[str, Prediction]:
        """Score the averaged weights; the prediction goes on to the callbacks that draw it."""
        weights = {} if self.average is None else self.average.weights
        prediction = functional_call(self.net, weights, (batch.video, batch.queries))
        loss, _ = self._loss(prediction, batch)
        if batch.labelled.any():  # not a clip that only keeps this rank in step with the others
            scores = pck_scores(prediction, batch) | tapvid_scores(prediction, batch)
            self.scores.add(scores | {"loss": loss})
        return {"prediction": prediction}

    def on_validation_epoch_end(self) -> None:
        means = self.scores.means(lambda x: self.trainer.strategy.reduce(x, reduce_op="sum"), self.device)
        self.log_dict({f"val/{name}": value for name, value in means.items()})
        self.scores = ScoreSheet(VALIDATION_SCORES)

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

    def _anchors(self, batch: VideoSample) -> Tensor | None:
        num = self.supervision.num_anchors
        return anchor_grid(batch, num) if num and batch.flow is not None else None

    def _loss(self, prediction: Prediction, batch: VideoSample) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, enabled=False):  # pixels and logarithms need all their digits
            return self.loss(prediction, batch, self.global_step)

    def _log_training(self, prediction: Prediction, batch: VideoSample) -> None:
        num_clips = len(batch.video)
        self.log_dict({f"train/{k}": v for k, v in self._terms.items()}, batch_size=num_clips)
        if (self.global_step + 1) % self.trainer.log_every_n_steps:  # Lightning counts steps done
            return
        scores = {name: value[value.isfinite()] for name, value in pck_scores(prediction, batch).items()}
        means = {f"train/{name}": value.mean() for name, value in scores.items() if len(value)}
        self.log_dict(means, batch_size=num_clips)
        parameters = torch.stack([p.detach().norm() for p in self.net.parameters()])
        self.log("norm/parameters", parameters.norm())
