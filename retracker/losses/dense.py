"""Supervision by dense flow: the pixels around each query, and a grid of extra points for global matching."""

from math import isqrt

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.geometry.coords import cell_index
from retracker.losses.coarse import focal
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


def anchor_focal(prediction: Prediction, truth: VideoSample, gamma: float) -> Float[Tensor, ""]:
    """Focal loss over the cells of anchors whose pixel is visible; zero without anchors or without flow."""
    terms = []
    for t, frame in enumerate(prediction.frames):
        if t == 0 or frame.anchor_cells is None or truth.flow is None:
            continue
        anchors = anchor_grid(truth, frame.anchor_cells.shape[1])
        where, known = follow(truth.flow, anchors, t)
        cell, inside = cell_index(frame.grid, where)
        terms.append(clip_mean(focal(frame.anchor_cells, cell, gamma), known & inside))
    return torch.stack(terms).mean() if terms else truth.tracks.new_zeros(())


def anchor_grid(truth: VideoSample, num: int) -> Float[Tensor, "B A 2"]:
    """``num`` (a square number) points spread evenly over frame 0, in px."""
    side = isqrt(num)
    if side * side != num:
        raise ValueError(f"anchors form a square grid: their number must be a square, not {num}")
    height, width = truth.video.shape[-2:]
    step = (torch.arange(side, device=truth.tracks.device) + 0.5) / side
    y, x = torch.meshgrid(step * height, step * width, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(len(truth.video), -1, -1)


def follow(
    flow: DenseFlow, xy: Float[Tensor, "B N 2"], t: int
) -> tuple[Float[Tensor, "B N 2"], Bool[Tensor, "B N"]]:
    """Where points of frame 0 are in frame t, moving with the pixel they lie in, and whether that is known.

    The nearest pixel, not four of them: displacements on both sides of an edge must not be mixed.
    """
    height, width = flow.valid.shape[-2:]
    limit = xy.new_tensor([width, height])
    inside = ((xy >= 0) & (xy < limit)).all(-1)
    column, row = torch.minimum(xy.floor().clamp(min=0), limit - 1).long().unbind(-1)
    clip = torch.arange(len(xy), device=xy.device)[:, None]
    return xy + flow.displacement[clip, t, row, column], inside & flow.valid[clip, t, row, column]
