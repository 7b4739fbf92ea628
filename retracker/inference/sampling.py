"""A sample of many matches that is sure of each and covers the scene (RoMa, Edstedt et al., CVPR 2024)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

SURPLUS = 4  # times as many are drawn by certainty, of which density then chooses
BANDWIDTH = 0.05  # of the images' sides: matches closer than about that, at both ends, are neighbours
LONELY = 0.5  # neighbours: a match with so little company is most likely wrong
SELDOM = 1e-7  # how often those are drawn, against 1: only where there are too few others


def balanced_sample(
    ends: Float[Tensor, "M 4"], certainty: Float[Tensor, " M"], num: int, seed: int
) -> Int[Tensor, " K"]:
    """Which ``num`` matches to take, in their order; all of them where there are no more.

    ``ends`` are the positions in both images as shares of their sides. First ``SURPLUS * num`` are drawn by
    certainty; then ``num`` of these with a probability that falls with the number of matches that begin and
    end where they do (a Gaussian kernel over ``ends``), so that no well textured wall takes them all. The
    draw is a function of ``seed``.
    """
    if len(ends) <= num:
        return torch.arange(len(ends))
    generator = torch.Generator().manual_seed(seed)
    weight = certainty.double().clamp(min=SELDOM)
    drawn = torch.multinomial(weight, min(SURPLUS * num, len(ends)), generator=generator)
    density = densities(ends.double())[drawn]
    weight = torch.where(density < 1 + LONELY, SELDOM, 1 / density)
    chosen = torch.multinomial(weight, num, generator=generator)
    return drawn[chosen].sort().values


def densities(ends: Float[Tensor, "M 4"]) -> Float[Tensor, " M"]:
    """How much company each match has: the sum of a Gaussian kernel over all of them, itself among them."""
    rows = (torch.exp(-((torch.cdist(some, ends) / BANDWIDTH) ** 2) / 2) for some in ends.split(1024))
    return torch.cat([row.sum(dim=-1) for row in rows])
