# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Training a tracker: what the net is given, what its loss is, and how it is validated."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from torch.func import functional_call

from retracker.losses.anchors import anchor_grid
from retracker.training.guard import NonFiniteGuard
from retracker.training.net_module import NetModule
from retracker.training.optimisation import Optimisation
from retracker.training.scores import VALIDATION_SCORES, pck_scores, tapvid_scores
from retracker.types import Prediction, Queries, VideoSample


@dataclass(frozen=True)
class Supervision:
    """What the net is given in training beyond the video and the queries."""

    forced_writes_until: (
        int  # step before which true visibility, not the net's own, decides what is remembered
    )
    num_anchors: int  # extra points of frame 0 for global matching, where the clip has dense flow; 0: none


class TrackingModule(NetModule):
    """Train a tracker on clips (an image pair is one of two frames); validate its averaged weights."""

    def __init__(
        self,
        net: nn.Module,
        net_config: Mapping,
        loss: nn.Module,
        optimisation: Optimisation,
        supervision: Supervision,
        ema_decay: float,
        guard: NonFiniteGuard,
    ) -> None:
        super().__init__(net, net_config, loss, optimisation, ema_decay, guard, VALIDATION_SCORES)
        self.supervision = supervision

    def attempt(self, batch: VideoSample) -> tuple[Prediction, Tensor, dict[str, Tensor]]:
        forced = self.global_step < self.supervision.forced_writes_until
        prediction = self.net(
            batch.video,
            batch.queries,
            anchors=self._anchors(batch),
            noise=batch.noise,
            seen=batch.visible if forced else None,
        )
        return prediction, *self._loss(prediction, batch)

    def validation_step(self, batch: VideoSample, batch_idx: int) -> dict[str, Prediction]:
        """Score the averaged weights; the prediction goes on to the callbacks that draw it."""
        prediction = self.answer(batch.video, batch.queries)
        loss, _ = self._loss(prediction, batch)
        if batch.labelled.any():  # not a clip that only keeps this rank in step with the others
            scores = pck_scores(prediction, batch) | tapvid_scores(prediction, batch)
            self.scores.add(scores | {"loss": loss})
        return {"prediction": prediction}

    def answer(self, video: UInt8[Tensor, "B T 3 H W"], queries: Queries) -> Prediction:
        """What the averaged weights make of a batch."""
        return functional_call(self.net, self.averaged(), (video, queries))

    def training_scores(self, prediction: Prediction, batch: VideoSample) -> Mapping[str, Tensor]:
        return pck_scores(prediction, batch)

    def batch_length(self, batch: VideoSample) -> int:
        return len(batch.video)

    def num_frames(self, batch: VideoSample) -> int:
        return batch.video.shape[1]

    def _anchors(self, batch: VideoSample) -> Tensor | None:
        num = self.supervision.num_anchors
        return anchor_grid(batch, num) if num and batch.flow is not None else None

    def _loss(self, prediction: Prediction, batch: VideoSample) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, enabled=False):  # pixels and logarithms need all their digits
            return self.loss(prediction, batch, self.global_step)
