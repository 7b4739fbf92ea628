"""What grey values cannot tell stays where it was.

On a plain wall every place looks like the next, and what a tracker says of a point there wanders. How far the
noise of the pixels alone would shift a patch is known from its slopes (the structure tensor: Förstner & Gülch
1987). A movement that is long beside that is believed, a short one for the small part which is likely to be
real (the empirical Wiener filter: d becomes d * d^2 / (d^2 + deviation^2)), along and across edges by itself.
What is seen well moves freely, and nothing ever lags by more than half a deviation: 1 px.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.inference.subpixel import in_full_precision, window
from retracker.types import TensorStruct

NOISE = 10.0  # grey values: what one and the same pixel differs by, with compression and changes of light
LEAST = 0.5  # px: what is known better is left alone
LARGEST = 2.0  # px: no deviation counts as more, for even a plain surface may move


@dataclass(frozen=True, kw_only=True)
class Doubt(TensorStruct):
    """How far noise would shift patches, in px of the image that they were cut from: beyond ``LEAST``."""

    variance: Float[Tensor, "N 2"]  # px^2, along each of two axes
    axes: Float[Tensor, "N 2 2"]  # those axes, (x, y) of length 1: across the strongest edge, and along it


@in_full_precision
def doubt(grey: Float[Tensor, "N P"]) -> Doubt:
    """How well the grey values of each of a few ``Patches`` tell where it lies."""
    _, weight = window(grey.device)
    side = round(len(weight) ** 0.5)
    grey, weight = grey.unflatten(-1, (side, side)), weight.unflatten(0, (side, side))
    x = (grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]) / 2
    y = (grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]) / 2
    weight = weight[1:-1, 1:-1] / weight[1:-1, 1:-1].sum()
    xx, xy, yy = ((weight * product).sum((1, 2)) for product in (x * x, x * y, y * y))
    angle = torch.atan2(2 * xy, xx - yy) / 2
    mean, reach = (xx + yy) / 2, torch.hypot((xx - yy) / 2, xy)
    strength = torch.stack([mean + reach, mean - reach], dim=-1)  # the tensor's eigenvalues
    noise = NOISE**2 * weight.square().sum()  # what is left of it in a weighted mean
    across = torch.stack([angle.cos(), angle.sin()], dim=-1)
    along = torch.stack([-angle.sin(), angle.cos()], dim=-1)
    variance = noise / strength.clamp(min=noise / LARGEST**2) - LEAST**2
    return Doubt(variance=variance.clamp(min=0), axes=torch.stack([across, along], dim=-2))


@in_full_precision
def steady(last: Float[Tensor, "N 2"], found: Float[Tensor, "N 2"], known: Doubt) -> Float[Tensor, "N 2"]:
    """Where points (px) that were at ``last`` and are ``found`` now most likely are."""
    moved = (known.axes @ (found - last)[..., None])[..., 0]
    moved = moved * moved.square() / (moved.square() + known.variance).clamp(min=1e-12)
    return last + (known.axes.mT @ moved[..., None])[..., 0]
