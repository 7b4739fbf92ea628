"""Supervision by dense flow: where the pixels around each query go, and what flow says of any point."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.losses.reduction import clip_mean
from retracker.types import DenseFlow, Prediction, VideoSample


def dense_flow(prediction: Prediction, truth: VideoSample, beta: float) -> Float[Tensor, ""]:
    """Smooth L1 (px) of where the pixels around a query of frame 0 went, as seen from the point itself.

    Zero where the net has no dense head or the clip no flow.
    """
    terms = []
    for t, frame in enumerate(prediction.frames):
        if frame.dense is None:
            continue
        if truth.flow is None:  # a gradient of zero, not none: DDP waits for every parameter
            terms.append(0 * frame.dense.float().sum())
            continue
        around = truth.queries.xy[:, :, None] + frame.dense_offsets  # B N P 2
        where, known = follow(truth.flow, around.flatten(1, 2), t)
        target = where.unflatten(1, around.shape[1:3]) - truth.tracks[:, t, :, None]
        error = (frame.dense.float() - target).norm(dim=-1)
        values = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=beta)
        counted = frame.supervised & truth.located[:, t] & (truth.queries.frame == 0)
        terms.append(clip_mean(values, counted[..., None] & known.unflatten(1, around.shape[1:3])))
    return torch.stack(terms).mean() if terms else truth.tracks.new_zeros(())


def follow(
    flow: DenseFlow, xy: Float[Tensor, "B N 2"], t: int
) -> tuple[Float[Tensor, "B N 2"], Bool[Tensor, "B N"]]:
    """Where points of frame 0 are in frame t, moving with the pixel they lie in, and whether that is known.

    The nearest pixel, not four of them: displacements on both sides of an edge must not be mixed.
    """
    pixel, inside = pixel_under(flow, xy, t)
    return xy + flow.displacement[pixel], inside & flow.valid[pixel]


def gone(flow: DenseFlow, xy: Float[Tensor, "B N 2"], t: int) -> Bool[Tensor, "B N"]:
    """Whether points of frame 0 are known not to be seen in frame t, by the pixel they lie in."""
    pixel, inside = pixel_under(flow, xy, t)
    return torch.zeros_like(inside) if flow.absent is None else inside & flow.absent[pixel]


def pixel_under(
    flow: DenseFlow, xy: Float[Tensor, "B N 2"], t: int
) -> tuple[tuple[Tensor | int, ...], Bool[Tensor, "B N"]]:
    """What picks, from flow, the pixel of frame 0 that each point lies in, and whether it lies in any."""
    height, width = flow.valid.shape[-2:]
    limit = xy.new_tensor([width, height])
    inside = ((xy >= 0) & (xy < limit)).all(-1)
    column, row = torch.minimum(xy.floor().clamp(min=0), limit - 1).long().unbind(-1)
    return (torch.arange(len(xy), device=xy.device)[:, None], t, row, column), inside
