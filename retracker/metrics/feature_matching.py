"""How many of the matches of two sets of keypoints are right, where it is known where each of them goes."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.types import FeaturePair


def mutual_nearest(
    distance: Float[Tensor, "B N M"], rows: Bool[Tensor, "B N"], columns: Bool[Tensor, "B M"]
) -> Bool[Tensor, "B N M"]:
    """Who is whose nearest neighbour in both directions, among the rows and columns that count."""
    counted = rows[..., None] & columns[:, None]
    distance = torch.where(counted, distance, torch.inf)
    forth, back = distance.argmin(-1, keepdim=True), distance.argmin(-2, keepdim=True)
    nothing = torch.zeros_like(counted)
    return counted & nothing.scatter(-1, forth, value=True) & nothing.scatter(-2, back, value=True)


def mutual_accuracy(
    distance: Float[Tensor, "B K0 K1"], pair: FeaturePair, threshold: float | int
) -> Float[Tensor, " B"]:
    """The share of mutual nearest neighbours that lie within ``threshold`` px of the truth; 0 without any.

    One whose keypoint is not seen in the other image is wrong (D2-Net's matching accuracy).
    """
    matched = mutual_nearest(distance, pair.features0.present, pair.features1.present)
    error = (pair.moved0[:, :, None] - pair.features1.xy[:, None]).norm(dim=-1)
    right = matched & pair.known0[..., None] & (error <= threshold)
    return right.sum((1, 2)) / matched.sum((1, 2)).clamp(min=1)
