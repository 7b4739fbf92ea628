"""Local features as a matcher: an extractor's descriptors, raw or boosted, and mutual nearest neighbours."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.neighbours import matched, mutual_neighbours
from retracker.benchmarks.protocol import Matched
from retracker.types import LocalFeatures

ORTHOGONAL = 2.0  # squared distance of unit vectors: 2 - 2 a.b


@runtime_checkable
class Extractor(Protocol):
    """What finds the local features of one image."""

    binary: bool  # descriptors are bits, as -1 and +1

    def __call__(self, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures: ...


@runtime_checkable
class Booster(Protocol):
    """What rewrites the descriptors of one image; bits come out as -1 and +1."""

    binary: bool

    def __call__(self, features: LocalFeatures) -> Float[Tensor, "K E"]: ...


class LocalMatcher:
    """Mutual nearest neighbours: by Hamming distance where descriptors are bits, else by Euclidean distance.

    ``booster`` None leaves descriptors as they are; ``ratio`` None asks for no ratio test. The confidence is
    how much nearer the best neighbour is than the second best, in [0, 1].
    """

    def __init__(self, extractor: Extractor, booster: Booster | None, ratio: float | int | None) -> None:
        if ratio is not None and not 0 < ratio <= 1:
            raise ValueError(
                f"ratio: expected a share of a distance, above 0 and up to 1, or null; got {ratio}"
            )
        self.extractor, self.booster, self.ratio = extractor, booster, ratio
        self.binary = (booster or extractor).binary

    def __call__(self, image0: UInt8[Tensor, "3 H0 W0"], image1: UInt8[Tensor, "3 H1 W1"]) -> Matched:
        features0, features1 = self._features(image0), self._features(image1)
        between = hamming if self.binary else euclidean
        distance = between(features0.descriptors, features1.descriptors)
        return matched(features0.xy, features1.xy, mutual_neighbours(distance, self.ratio))

    def _features(self, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures:
        features = self.extractor(image)
        return features if self.booster is None else replace(features, descriptors=self.booster(features))


def euclidean(a: Float[Tensor, "K0 D"], b: Float[Tensor, "K1 D"]) -> Float[Tensor, "K0 K1"]:
    """The distances of all vectors of unit length to each other."""
    return (ORTHOGONAL - 2 * a @ b.mT).clamp(min=0).sqrt()


def hamming(a: Float[Tensor, "K0 D"], b: Float[Tensor, "K1 D"]) -> Float[Tensor, "K0 K1"]:
    """In how many of the D entries, each -1 or +1, all vectors differ from each other."""
    return (a.shape[-1] - a @ b.mT) / 2
