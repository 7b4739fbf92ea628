"""Refinement: how far is each iteration's estimate from the truth?"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.losses.reduction import clip_mean, over_frames, scale_256, supervised
from retracker.types import Prediction, VideoSample


def refined_huber(
    prediction: Prediction,
    truth: VideoSample,
    decay: float,
    beta: float,
    occluded_weight: float,
    max_error: float,
    margin: float,
) -> Float[Tensor, ""]:
    """Smooth L1 of the distance; the last level counts most, each before it ``decay`` times the next.

    ``beta`` and ``max_error`` are px at 256 scale: where the loss turns from square to linear, and beyond
    which an estimate is the coarse matcher's to mend. Points more than ``margin`` frame sizes outside the
    frame are ignored.
    """
    scale, counted = scale_256(truth), supervised(prediction) & truth.located & near_frame(truth, margin)
    importance = torch.where(truth.visible, 1.0, occluded_weight)
    levels = prediction.frames[0].levels  # of each iteration; those of a level count alike
    weights = [decay ** (levels[-1] - level) for level in levels]
    total = truth.tracks.new_zeros(())
    for i, weight in enumerate(weights):
        xy = over_frames(prediction, lambda frame, _, i=i: frame.refined[i].xy.float())
        error = (xy - truth.tracks).norm(dim=-1) / scale
        values = F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none", beta=beta)
        total = total + weight * clip_mean(importance * values, counted & (error.detach() < max_error))
    return total / sum(weights)


def near_frame(truth: VideoSample, margin: float) -> Bool[Tensor, "B T N"]:
    """Whether each true position lies in the frame, or outside by at most ``margin`` of its size."""
    size = truth.tracks.new_tensor(truth.video.shape[:-3:-1])  # width, height
    return ((truth.tracks >= -margin * size) & (truth.tracks <= (1 + margin) * size)).all(-1)
