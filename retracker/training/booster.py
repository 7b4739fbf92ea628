# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Training a FeatureBooster: pairs of images by their keypoints, judged by how well these find each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from retracker.losses.booster import BoosterLoss, Ranking, boosted_distance, original_distance
from retracker.metrics.feature_matching import mutual_accuracy
from retracker.models.descriptor import FeatureBooster, booster_inputs
from retracker.training.guard import NonFiniteGuard
from retracker.training.net_module import NetModule
from retracker.training.optimisation import Optimisation
from retracker.types import FeaturePair, LocalFeatures

MATCHED_PX = 3  # the threshold of matching accuracy that the paper compares by
SCORES = ("AP", "AP_raw", "MMA@3", "MMA@3_raw", "MMA@3_gain", "loss")


@dataclass(frozen=True)
class Boosted:
    """The new descriptors of both images of each pair."""

    of0: Float[Tensor, "B K0 E"]
    of1: Float[Tensor, "B K1 E"]


class BoosterModule(NetModule):
    """Train a booster on pairs of features; validate its averaged weights beside the descriptors as given."""

    def __init__(
        self,
        net: FeatureBooster,
        net_config: Mapping,
        loss: BoosterLoss,
        optimisation: Optimisation,
        ema_decay: float,
        guard: NonFiniteGuard,
    ) -> None:
        super().__init__(net, net_config, loss, optimisation, ema_decay, guard, SCORES)

    def attempt(self, batch: FeaturePair) -> tuple[Boosted, Tensor, dict[str, Tensor]]:
        boosted = self._boost(batch, self.net)
        return boosted, *self._loss(boosted, batch)

    def validation_step(self, batch: FeaturePair, batch_idx: int) -> None:
        """Score averaged and raw descriptors of pairs that count: not those that only keep ranks in step."""
        if batch.known0.any():
            weights = self.averaged()
            boosted = self._boost(batch, lambda *inputs: functional_call(self.net, weights, inputs))
            loss, _ = self._loss(boosted, batch)
            self.scores.add(self._scores(boosted, batch) | {"loss": loss})

    def training_scores(self, prediction: Boosted, batch: FeaturePair) -> Mapping[str, Tensor]:
        return self._scores(prediction, batch)

    def batch_length(self, batch: FeaturePair) -> int:
        return len(batch.moved0)

    def num_frames(self, batch: FeaturePair) -> int:
        return 2  # a pair

    def _boost(self, batch: FeaturePair, net: Callable[..., Tensor]) -> Boosted:
        def of(features: LocalFeatures) -> Tensor:
            check_fit(self.net, features)
            return net(*booster_inputs(features)).float()

        return Boosted(of(batch.features0), of(batch.features1))

    def _loss(self, boosted: Boosted, batch: FeaturePair) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, enabled=False):  # neighbours differ in the last digits
            return self.loss(boosted.of0, boosted.of1, batch, binary=self.net.binary)

    @torch.no_grad()
    def _scores(self, boosted: Boosted, batch: FeaturePair) -> dict[str, Tensor]:
        with torch.autocast(self.device.type, enabled=False):
            ranking = self.loss.rank(boosted.of0, boosted.of1, batch, binary=self.net.binary)
            distance = boosted_distance(boosted.of0, boosted.of1, binary=self.net.binary)
            found = mutual_accuracy(distance, batch, MATCHED_PX)
            found_raw = mutual_accuracy(original_distance(batch), batch, MATCHED_PX)
        return {
            "AP": mean_precision(ranking, ranking.boosted),
            "AP_raw": mean_precision(ranking, ranking.original),
            "MMA@3": found,
            "MMA@3_raw": found_raw,
            "MMA@3_gain": found - found_raw,
        }


def mean_precision(ranking: Ranking, precision: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The mean average precision of each pair over its queries that have a match; NaN where none has."""
    total = torch.where(ranking.counted, precision, 0.0).sum(-1)
    return total / ranking.counted.sum(-1)


def check_fit(net: FeatureBooster, features: LocalFeatures) -> None:
    """Raise ValueError unless the detector finds what the net reads: they are chosen apart."""
    reads = [net.denc.encoder[0].in_features]
    found = [features.descriptors.shape[-1]]
    if net.kenc is not None:
        reads.append(net.kenc.encoder[0].in_features - 2)  # x and y
        found.append(features.geometry.shape[-1])
    if reads != found:
        raise ValueError(
            f"model.preset reads (descriptor, geometry) of {reads} numbers, the extractor of data finds "
            f"{found}: choose them together, as model.preset=SIFT+Boost-F extractor@data.extractor=sift"
        )
