"""A term for clips whose labels are exact, beside others whose labels are what teachers were sure of."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.losses.tracking import Term
from retracker.types import Prediction, VideoSample


def where_exact(
    prediction: Prediction, truth: VideoSample, term: Term, taught: Sequence[str]
) -> Float[Tensor, ""]:
    """The term as if nothing were known of visibility in clips of the data sets ``taught``.

    A teacher labels what it sees: a student of that alone would learn that all is visible and found. So
    CoTracker3 (Karaev et al., 2024) learns no visibility from pseudo-labels.
    """
    exact = torch.tensor([name.partition("/")[0] not in taught for name in truth.name])
    labelled = truth.labelled & exact.to(truth.labelled.device)[:, None, None]
    return term(prediction, replace(truth, labelled=labelled))
