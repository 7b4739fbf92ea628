"""What a FeatureBooster learns (CVPR 2023): to rank matches first, and never worse than the original did."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.losses.average_precision import fast_ap
from retracker.losses.reduction import clip_mean
from retracker.types import FeaturePair, LocalFeatures

FARTHEST = 4.0  # of two unit vectors: 2 - 2 a.b


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """How well the queries of both images of each pair find their matches in the other."""

    boosted: Float[Tensor, "B K"]  # average precision; K: the keypoints of image 0, then those of image 1
    original: Float[Tensor, "B K"]
    counted: Bool[Tensor, "B K"]  # has a match


class BoosterLoss(nn.Module):
    """FastAP of the boosted descriptors, and how far it falls behind that of the original ones.

    Matches lie within ``near`` px (along each axis) of where a keypoint is in the other image, all that is
    beyond ``far`` px is no match, and what is between counts for nothing. The more ``bins``, the finer the
    differences of distance that count.
    """

    def __init__(self, near: float | int, far: float | int, bins: int, boost_weight: float | int) -> None:
        super().__init__()
        if not 0 < near <= far or bins < 1 or boost_weight < 0:
            raise ValueError(
                f"loss: expected 0 < near <= far, bins >= 1 and boost_weight >= 0, "
                f"got {near}, {far}, {bins} and {boost_weight}"
            )
        self.near, self.far, self.bins, self.boost_weight = near, far, bins, boost_weight

    def forward(
        self,
        boosted0: Float[Tensor, "B K0 E"],
        boosted1: Float[Tensor, "B K1 E"],
        pair: FeaturePair,
        *,
        binary: bool,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """The loss and its terms: L = mean(1 - AP) + weight mean(ReLU(AP_original / AP - 1)).

        ``binary`` descriptors are compared by their signs, others have unit length. Means are over the
        queries of a pair that have a match, then over pairs.
        """
        ranking = self.rank(boosted0, boosted1, pair, binary=binary)
        counted = ranking.counted
        behind = F.relu(ranking.original / torch.where(counted, ranking.boosted, 1.0) - 1)
        terms = {
            "ap": clip_mean(1 - ranking.boosted, counted),
            "boost": clip_mean(behind, counted),
        }
        return terms["ap"] + self.boost_weight * terms["boost"], terms

    def rank(
        self,
        boosted0: Float[Tensor, "B K0 E"],
        boosted1: Float[Tensor, "B K1 E"],
        pair: FeaturePair,
        *,
        binary: bool,
    ) -> Ranking:
        """Average precision, boosted and original, in both directions."""
        distance = boosted_distance(boosted0, boosted1, binary=binary)
        largest = boosted0.shape[-1] if binary else FARTHEST
        original = original_distance(pair)
        forth = self._labels(pair.moved0, pair.known0, pair.features0, pair.features1)
        back = self._labels(pair.moved1, pair.known1, pair.features1, pair.features0)
        sides = [
            (
                fast_ap(found, *labels, largest, self.bins),
                fast_ap(raw, *labels, FARTHEST, self.bins),
                labels[0].any(-1),
            )
            for found, raw, labels in (
                (distance, original, forth),
                (distance.mT.contiguous(), original.mT.contiguous(), back),
            )
        ]
        boosted, raw, counted = (torch.cat(both, dim=-1) for both in zip(*sides, strict=True))
        return Ranking(boosted=boosted, original=raw, counted=counted)

    def _labels(
        self,
        moved: Float[Tensor, "B N 2"],
        known: Bool[Tensor, "B N"],
        own: LocalFeatures,
        other: LocalFeatures,
    ) -> tuple[Bool[Tensor, "B N M"], Bool[Tensor, "B N M"]]:
        """Which keypoints of the other image match, and which do not."""
        apart = (moved[:, :, None] - other.xy[:, None]).abs().amax(-1)  # B N M
        there = (known & own.present)[..., None] & other.present[:, None]
        return there & (apart <= self.near), there & (apart >= self.far)


def boosted_distance(
    a: Float[Tensor, "B N D"], b: Float[Tensor, "B M D"], *, binary: bool
) -> Float[Tensor, "B N M"]:
    """By their signs, or of vectors of unit length."""
    return bit_distance(a, b) if binary else unit_distance(a, b)


def unit_distance(a: Float[Tensor, "B N D"], b: Float[Tensor, "B M D"]) -> Float[Tensor, "B N M"]:
    """The squared distance of vectors of unit length."""
    return 2 - 2 * (a @ b.mT)


def bit_distance(a: Float[Tensor, "B N D"], b: Float[Tensor, "B M D"]) -> Float[Tensor, "B N M"]:
    """In how many signs descriptors differ; the gradient is that of the values (a straight-through step)."""
    return (a.shape[-1] - signs(a) @ signs(b).mT) / 2


def signs(x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """-1 or 1; 0 counts as positive. The gradient is that of 2 x: a bit counts for 0 or 1."""
    return torch.where(x >= 0, 1.0, -1.0).to(x.dtype) + 2 * (x - x.detach())


def original_distance(pair: FeaturePair) -> Float[Tensor, "B K0 K1"]:
    """Of descriptors as they came: 2 - 2 cos.

    Of bits that is 4 / D times the number of those that differ, and average precision knows no scale.
    """
    first, second = (
        F.normalize(features.descriptors.float(), dim=-1) for features in (pair.features0, pair.features1)
    )
    return unit_distance(first, second).detach()
