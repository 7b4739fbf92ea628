"""Global matching: which cell is each point in, or is it nowhere to be seen?"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retracker.geometry.coords import cell_index
from retracker.losses.reduction import clip_mean, over_frames, supervised
from retracker.types import Grid, Prediction, VideoSample


def coarse_focal(
    prediction: Prediction, truth: VideoSample, gamma: float, negative_weight: float
) -> Float[Tensor, ""]:
    """Focal loss over cells and dustbin; points in a cell and points in the dustbin are averaged apart."""
    known = supervised(prediction) & truth.labelled
    inside = over_frames(prediction, lambda frame, t: cell_index(frame.grid, truth.tracks[:, t])[1])
    values = over_frames(
        prediction,
        lambda frame, t: focal(
            frame.cells, target_class(frame.grid, truth.tracks[:, t], truth.visible[:, t]), gamma
        ),
    )
    positive = clip_mean(values, known & truth.visible & truth.located & inside)
    return positive + negative_weight * clip_mean(values, known & ~truth.visible)


def target_class(grid: Grid, xy: Float[Tensor, "*B 2"], visible: Bool[Tensor, "*B"]) -> Int[Tensor, "*B"]:
    """The cell that holds each visible point; the dustbin (the class after the last cell) for the others."""
    return torch.where(visible, cell_index(grid, xy)[0], grid.rows * grid.columns)


def focal(
    logits: Float[Tensor, "*B classes"], target: Int[Tensor, "*B"], gamma: float
) -> Float[Tensor, "*B"]:
    """Cross-entropy, less where already right: ``-(1 - p) ** gamma * log p`` (Lin et al. 2017, eq. 4)."""
    log_p = logits.float().log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return -((1 - log_p.exp()) ** gamma) * log_p
