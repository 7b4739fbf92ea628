"""Average precision as something that can be learnt: FastAP (Cakir et al., CVPR 2019)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

BINS = 10  # FeatureBooster's


def fast_ap(
    distance: Float[Tensor, "*B N M"],
    positive: Bool[Tensor, "*B N M"],
    negative: Bool[Tensor, "*B N M"],
    largest: float | int,
    bins: int = BINS,
) -> Float[Tensor, "*B N"]:
    """The average precision with which each of N queries ranks its positives before its negatives.

    Distances from 0 to ``largest`` are shared out to the two nearest of ``bins`` + 1 equidistant centres:
    AP = 1 / N+ sum_z h+_z H+_z / H_z, with h+ the histogram of positives, H+ and H those of positives and of
    all, summed up to z. What is neither positive nor negative is left out; a query without positives has 0.
    """
    place = (distance * (bins / largest)).clamp(0, bins)
    positives, counted = SoftHistograms.apply(place, positive, positive | negative, bins)  # *B N bins + 1
    before, all_before = positives.cumsum(-1), counted.cumsum(-1)
    found = (positives > 0) & (before > 0)
    share = torch.where(found, before / torch.where(found, all_before, 1.0), 0.0)
    precision = (positives * share).sum(-1) / positive.sum(-1).clamp(min=1)
    return precision.clamp(max=1)


class SoftHistograms(Function):
    """How much of some distances falls to each centre: two histograms, of two selections, the first sparse.

    The slope of a triangular share is that of its two centres' gradients, so that nothing need be kept but
    the distances themselves: autograd would keep them once for each centre.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        place: Float[Tensor, "*B N M"],
        first: Bool[Tensor, "*B N M"],
        second: Bool[Tensor, "*B N M"],
        bins: int,
    ) -> tuple[Float[Tensor, "*B N centres"], Float[Tensor, "*B N centres"]]:
        ctx.save_for_backward(place, first, second)
        below, above = _shares(place, bins)
        above = torch.where(second, above, 0.0)
        nothing = place.new_zeros(*place.shape[:-1], bins + 1)
        of_second = nothing.scatter_add(-1, below, second.to(place.dtype) - above)
        of_second.scatter_add_(-1, below + 1, above)
        *query, _ = chosen = first.nonzero(as_tuple=True)
        below, above = _shares(place[chosen], bins)
        of_first = nothing.index_put((*query, below), 1 - above, accumulate=True)
        return of_first.index_put_((*query, below + 1), above, accumulate=True), of_second

    @staticmethod
    def backward(
        ctx: FunctionCtx, of_first: Float[Tensor, "*B N centres"], of_second: Float[Tensor, "*B N centres"]
    ) -> tuple[Float[Tensor, "*B N M"], None, None, None]:
        place, first, second = ctx.saved_tensors
        below, _ = _shares(place, of_first.shape[-1] - 1)
        slope = of_second.diff(dim=-1).gather(-1, below) * second
        return slope + of_first.diff(dim=-1).gather(-1, below) * first, None, None, None


def _shares(place: Float[Tensor, "*S"], bins: int) -> tuple[Int[Tensor, "*S"], Float[Tensor, "*S"]]:
    """The centre below each place, and how much falls to the one above it."""
    below = place.long().clamp(max=bins - 1)
    return below, place - below
