"""Average precision as something that can be learnt: FastAP (Cakir et al., CVPR 2019)."""

import torch
from jaxtyping import Bool, Float
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
    positives, counted = SoftHistograms.apply(place, positive, positive | negative, bins)  # B N bins + 1
    before, all_before = positives.cumsum(-1), counted.cumsum(-1)
    found = (positives > 0) & (before > 0)
    share = torch.where(found, before / torch.where(found, all_before, 1.0), 0.0)
    precision = (positives * share).sum(-1) / positive.sum(-1).clamp(min=1)
    return precision.clamp(max=1)


class SoftHistograms(Function):
    """How much of some distances falls to each centre: two histograms, of two selections.

    The slope of a triangular share is that of its two centres' gradients, so that nothing of the size of the
    distances need be kept for each centre: an eleventh of what autograd would keep.
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
        shares = ((1 - (place - centre).abs()).clamp(min=0) for centre in range(bins + 1))
        sums = [((share * first).sum(-1), (share * second).sum(-1)) for share in shares]
        of_first, of_second = zip(*sums, strict=True)
        return torch.stack(of_first, dim=-1), torch.stack(of_second, dim=-1)

    @staticmethod
    def backward(
        ctx: FunctionCtx, of_first: Float[Tensor, "*B N centres"], of_second: Float[Tensor, "*B N centres"]
    ) -> tuple[Float[Tensor, "*B N M"], None, None, None]:
        place, first, second = ctx.saved_tensors
        below = place.long().clamp(max=of_first.shape[-1] - 2)
        change = of_first.diff(dim=-1).gather(-1, below) * first
        return change + of_second.diff(dim=-1).gather(-1, below) * second, None, None, None
