"""Global matching of a grid of extra points, whose whereabouts dense flow tells: a cell, or the dustbin."""

from math import isqrt

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retracker.geometry.coords import cell_index
from retracker.losses.coarse import focal
from retracker.losses.dense import follow, gone
from retracker.losses.reduction import clip_mean
from retracker.types import FramePrediction, Prediction, VideoSample


def anchor_focal(
    prediction: Prediction,
    truth: VideoSample,
    gamma: float | int,
    negative_weight: float | int,
    hardest: float | int,
) -> Float[Tensor, ""]:
    """Focal loss of the anchors: a seen one belongs in its cell, one known to be absent in the dustbin.

    Both kinds are averaged apart. Of each only the share ``hardest`` with the largest loss counts; and of the
    absent ones no more than of the others, unless a clip has none of those. Zero without anchors or flow.
    """
    if not 0 < hardest <= 1:
        raise ValueError(f"anchors: hardest is a share above 0 and up to 1, got {hardest}")
    terms = []
    for t, frame in enumerate(prediction.frames):
        if t == 0 or frame.anchor_cells is None or truth.flow is None:
            continue
        target, seen, absent = anchor_classes(frame, truth, t)
        values = focal(frame.anchor_cells, target, gamma)
        present = largest(values, seen, counted(seen, hardest))
        limit = torch.where(seen.any(-1), present.sum(-1), seen.shape[-1])
        missing = largest(values, absent, torch.minimum(counted(absent, hardest), limit))
        terms.append(clip_mean(values, present) + negative_weight * clip_mean(values, missing))
    return torch.stack(terms).mean() if terms else truth.tracks.new_zeros(())


def anchor_classes(
    frame: FramePrediction, truth: VideoSample, t: int
) -> tuple[Int[Tensor, "B A"], Bool[Tensor, "B A"], Bool[Tensor, "B A"]]:
    """The true class of each anchor in frame t, whether it is a cell, and whether it is the dustbin.

    Where it is neither nothing is known, and the class means nothing.
    """
    anchors = anchor_grid(truth, frame.anchor_cells.shape[1])
    where, known = follow(truth.flow, anchors, t)
    cell, inside = cell_index(frame.grid, where)
    seen, absent = known & inside, gone(truth.flow, anchors, t)
    return torch.where(seen, cell, frame.grid.rows * frame.grid.columns), seen, absent


def anchor_grid(truth: VideoSample, num: int) -> Float[Tensor, "B A 2"]:
    """``num`` (a square number) points spread evenly over frame 0, in px."""
    side = isqrt(num)
    if side * side != num:
        raise ValueError(f"anchors form a square grid: their number must be a square, not {num}")
    height, width = truth.video.shape[-2:]
    step = (torch.arange(side, device=truth.tracks.device) + 0.5) / side
    y, x = torch.meshgrid(step * height, step * width, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(1, -1, 2).expand(len(truth.video), -1, -1)


def counted(among: Bool[Tensor, "B A"], share: float | int) -> Int[Tensor, " B"]:
    """How many a share of some is: at least one."""
    return (among.sum(-1) * share).round().long().clamp(min=1)


def largest(
    values: Float[Tensor, "B A"], among: Bool[Tensor, "B A"], num: Int[Tensor, " B"]
) -> Bool[Tensor, "B A"]:
    """The ``num`` largest values of each clip among some, or all of those if there are fewer."""
    order = values.detach().masked_fill(~among, float("-inf")).argsort(dim=-1, descending=True, stable=True)
    return among & (order.argsort(dim=-1) < num[:, None])
