"""Whether a confidence means what it says: of answers with confidence p, a share p should have come true."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retracker.types import VideoSample

SURE_PIXELS = 8.0  # at 256 scale: what ``confidence`` promises


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Answers in bins of equal width by their confidence; 0 where a bin is empty."""

    said: Float[Tensor, " bins"]  # mean confidence
    came: Float[Tensor, " bins"]  # share that came true
    count: Int[Tensor, " bins"]

    @property
    def error(self) -> float:
        """The expected calibration error (Naeini et al. 2015): the mean gap, weighted by bins' counts."""
        return float(((self.said - self.came).abs() * self.count).sum() / self.count.sum())


def reliability(confidence: Float[Tensor, " M"], truth: Bool[Tensor, " M"], num_bins: int) -> Reliability:
    """Compare confidences with what came true. Raises ValueError if there are none."""
    if not len(confidence):
        raise ValueError("calibration: expected at least one answer, got none")
    index = (confidence * num_bins).long().clamp(max=num_bins - 1)

    def total(values: Tensor) -> Tensor:
        return torch.zeros(num_bins, dtype=torch.float64).index_add(0, index, values.double())

    count = total(torch.ones_like(confidence))
    filled = count.clamp(min=1)
    return Reliability(said=total(confidence) / filled, came=total(truth) / filled, count=count.long())


def brier(confidence: Float[Tensor, " M"], truth: Bool[Tensor, " M"]) -> float:
    """The mean squared difference between confidence and what came true (0 or 1)."""
    return float((confidence.double() - truth.double()).square().mean())


def came_true(sample: VideoSample, tracks: Float[Tensor, "T N 2"]) -> Bool[Tensor, "T N"]:
    """Whether each point is visible and was found within the promised distance."""
    height, width = sample.video.shape[-2:]
    reach = SURE_PIXELS * (height * width) ** 0.5 / 256
    return sample.visible & ((tracks - sample.tracks).norm(dim=-1) < reach)
