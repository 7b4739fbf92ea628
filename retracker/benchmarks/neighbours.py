"""Keypoints matched by their descriptors: mutual nearest neighbours, and how sure each of them is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from retracker.benchmarks.protocol import Matched

LEAST_DISTANCE = 1e-12  # of a second best neighbour, which is divided by


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Which descriptors of two images are each other's nearest."""

    index0: Int[Tensor, " M"]
    index1: Int[Tensor, " M"]
    confidence: Float[Tensor, " M"]  # how much nearer the best is than the second best, in [0, 1]


def mutual_neighbours(distance: Float[Tensor, "K0 K1"], ratio: float | int | None) -> Neighbours:
    """Mutual nearest neighbours by the distances of all descriptors of image 0 to all of image 1.

    With a ``ratio`` they must also pass Lowe's test: the nearest is nearer than that share of the second
    nearest's distance. Where an image has fewer than two keypoints nothing can be compared, or matched.
    """
    if min(distance.shape) < 2:
        nobody = torch.zeros(0, dtype=torch.long)
        return Neighbours(index0=nobody, index1=nobody, confidence=torch.zeros(0))
    near, index = distance.topk(2, dim=1, largest=False)
    ratios = near[:, 0] / near[:, 1].clamp(min=LEAST_DISTANCE)
    chosen = distance.argmin(dim=0)[index[:, 0]] == torch.arange(len(distance))
    if ratio is not None:
        chosen &= ratios < ratio
    index0 = chosen.nonzero()[:, 0]
    return Neighbours(index0=index0, index1=index[index0, 0], confidence=1 - ratios[index0])


def matched(
    keypoints0: Float[Tensor, "K0 2"], keypoints1: Float[Tensor, "K1 2"], found: Neighbours
) -> Matched:
    """The answer that such neighbours are: ``keypoints`` are all of both images, in raster px."""
    return Matched(
        points0=keypoints0[found.index0],
        points1=keypoints1[found.index1],
        confidence=found.confidence,
        keypoints0=keypoints0,
        keypoints1=keypoints1,
    )
