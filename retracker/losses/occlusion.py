"""Is the point hidden? For the coarse estimate and for every refined one."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retracker.losses.reduction import clip_mean, over_frames, supervised
from retracker.types import Prediction, VideoSample


def occlusion_bce(prediction: Prediction, truth: VideoSample) -> Float[Tensor, ""]:
    """Binary cross-entropy of the occlusion logits where visibility is known; all estimates count alike."""
    logits = over_frames(
        prediction,
        lambda frame, _: torch.stack([e.occlusion.float() for e in (frame.coarse, *frame.refined)], dim=-1),
    )  # B T N E
    hidden = (~truth.visible).float()[..., None].expand_as(logits)
    values = F.binary_cross_entropy_with_logits(logits, hidden, reduction="none").mean(-1)
    return clip_mean(values, supervised(prediction) & truth.labelled)
