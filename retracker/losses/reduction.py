"""How values of many points become one number, and the scale on which pixels are counted."""

from collections.abc import Callable
from math import sqrt

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.types import FramePrediction, Prediction, VideoSample

REFERENCE_SIZE = 256.0  # px: errors are counted as TAP-Vid counts them, in a frame of 256 x 256


def clip_mean(values: Float[Tensor, " B *rest"], counted: Bool[Tensor, " B *rest"]) -> Float[Tensor, ""]:
    """Mean over what counts in each clip, then over all clips; a clip in which nothing counts adds zero.

    Not one mean over the batch: it would weigh clips differently on one process than on two.
    """
    axes = tuple(range(1, values.ndim))
    total = values.float().where(counted, 0.0).sum(axes)
    return (total / counted.sum(axes).clamp(min=1)).mean()


def over_frames(prediction: Prediction, value: Callable[[FramePrediction, int], Tensor]) -> Tensor:
    """Stack ``value(frame, t)`` (B N ...) of all frames along a new time axis: B T N ..."""
    return torch.stack([value(frame, t) for t, frame in enumerate(prediction.frames)], dim=1)


def supervised(prediction: Prediction) -> Bool[Tensor, "B T N"]:
    """Where the loss counts at all: points born before the frame at hand."""
    return over_frames(prediction, lambda frame, _: frame.supervised)


def scale_256(truth: VideoSample) -> float:
    """Pixels of this video per pixel of a 256 x 256 one (by area)."""
    height, width = truth.video.shape[-2:]
    return sqrt(height * width) / REFERENCE_SIZE
