"""Is the point visible and close to where it was found? This is what ``confidence`` promises to users."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retracker.losses.reduction import clip_mean, over_frames, scale_256, supervised
from retracker.types import FramePrediction, Prediction, VideoSample

SURE_PIXELS = 8.0  # at 256 scale: a point closer than this counts as found (contract of ``confidence``)


def confidence_bce(prediction: Prediction, truth: VideoSample) -> Float[Tensor, ""]:
    """Binary cross-entropy of the certainty logits against "visible and close"; all estimates count alike."""
    reach = SURE_PIXELS * scale_256(truth)

    def cross_entropy(frame: FramePrediction, t: int) -> Float[Tensor, "B N"]:
        estimates = (frame.coarse, *frame.refined)
        xy = torch.stack([e.xy.detach().float() for e in estimates], dim=-2)  # B N E 2
        close = (xy - truth.tracks[:, t, :, None]).norm(dim=-1) < reach
        found = (close & truth.visible[:, t, :, None]).float()
        logits = torch.stack([e.certainty.float() for e in estimates], dim=-1)
        return F.binary_cross_entropy_with_logits(logits, found, reduction="none").mean(-1)

    known = truth.labelled & (truth.located | ~truth.visible)  # a hidden point is not found, wherever it is
    return clip_mean(over_frames(prediction, cross_entropy), supervised(prediction) & known)
