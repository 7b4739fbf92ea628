"""Smooth motion in continuous time, and the rotations it drives."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.types import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Waves(TensorStruct):
    """C quantities that each follow ``base + drift * t + sum of sinusoids``; time is in frames."""

    base: Float[Tensor, "*A C"]
    drift: Float[Tensor, "*A C"]  # per frame
    amplitude: Float[Tensor, "*A C J"]
    frequency: Float[Tensor, "*A C J"]  # radians per frame
    phase: Float[Tensor, "*A C J"]

    def at(self, time: Float[Tensor, "*A F"]) -> Float[Tensor, "*A F C"]:
        """The C values at each of the F times."""
        clock = time[..., None]
        angle = self.frequency[..., None, :, :] * clock[..., None] + self.phase[..., None, :, :]
        swing = (self.amplitude[..., None, :, :] * angle.sin()).sum(-1)
        return self.base[..., None, :] + self.drift[..., None, :] * clock + swing

    def sped_up(self, factor: Float[Tensor, "*A"]) -> "Waves":
        """The same path, run ``factor`` times as fast."""
        return replace(
            self, drift=self.drift * factor[..., None], frequency=self.frequency * factor[..., None, None]
        )


def rotation(angles: Float[Tensor, "*A 3"]) -> Float[Tensor, "*A 3 3"]:
    """The matrix that turns by yaw (about y), then pitch (about x), then roll (about z); radians."""
    (cy, cp, cr), (sy, sp, sr) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        torch.stack([cr * cy - sr * sp * sy, -sr * cp, cr * sy + sr * sp * cy], dim=-1),
        torch.stack([sr * cy + cr * sp * sy, cr * cp, sr * sy - cr * sp * cy], dim=-1),
        torch.stack([-cp * sy, sp, cp * cy], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def product(a: Float[Tensor, "*A 3 3"], b: Float[Tensor, "*A 3 3"]) -> Float[Tensor, "*A 3 3"]:
    """Matrix product written as a sum, so that its last bit does not depend on how much is in the batch."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def transform(a: Float[Tensor, "*A 3 3"], x: Float[Tensor, "*A 3"]) -> Float[Tensor, "*A 3"]:
    """Matrix times vector, for the same reason written as a sum."""
    return (a * x[..., None, :]).sum(-1)
