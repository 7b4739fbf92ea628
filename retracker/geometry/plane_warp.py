"""A plane bent by a thin-plate spline and seen through a homography: exact in both directions."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.geometry.homography import transform
from retracker.types import TensorStruct

LEAST = 1e-24  # squared distance below which the spline's kernel is 0
STEPS = 10  # of Newton's method at most: near the end each doubles the number of right digits
NEAR = 1e-5  # of the frame's side: from here, one more step is exact


@dataclass(frozen=True, kw_only=True)
class PlaneWarp(TensorStruct):
    """Where what is seen at each place of a frame is taken from.

    A place is moved by ``spline`` (coefficients of ``centres``, then of 1, x and y), then goes through
    ``homography``. Both ways are one to one where the spline's gradient stays below 1.
    """

    centres: Float[Tensor, "K 2"]
    spline: Float[Tensor, "*B coefficients 2"]
    homography: Float[Tensor, "*B 3 3"]

    def source(self, xy: Float[Tensor, "*#B N 2"]) -> tuple[Float[Tensor, "*B N 2"], Bool[Tensor, "*B N"]]:
        """Where places of the frame are taken from, and whether they are: not from behind the horizon."""
        if self.spline.any():  # most of the time goes there
            xy = xy + thin_plate(xy, self.centres) @ self.spline
        return transform(self.homography, xy)

    def find(self, source: Float[Tensor, "*#B N 2"]) -> tuple[Float[Tensor, "*B N 2"], Bool[Tensor, "*B N"]]:
        """Where in the frame things of the source are seen, and whether they were found: Newton's method."""
        unbent, ahead = transform(torch.linalg.inv(self.homography), source)
        xy = unbent
        for _ in range(STEPS):
            offset, slope = thin_plate_moves(xy, self.centres, self.spline)
            miss = xy + offset - unbent
            xy = xy - solved(slope + torch.eye(2, dtype=slope.dtype), miss)
            if (miss.abs() < NEAR).all():  # and then squared by the step just taken
                break
        found = ahead & (miss.abs() < NEAR).all(-1)
        return torch.where(found[..., None], xy, 0.0), found


def thin_plate(
    xy: Float[Tensor, "*B N 2"], centres: Float[Tensor, "K 2"]
) -> Float[Tensor, "*B N coefficients"]:
    """The functions that a thin-plate spline is made of: r^2 log r about each centre, then 1, x and y."""
    _, _, squared, log = distances(xy, centres)
    return torch.cat([0.5 * squared * log, torch.ones_like(xy[..., :1]), xy], dim=-1)


def thin_plate_moves(
    xy: Float[Tensor, "*#B N 2"], centres: Float[Tensor, "K 2"], spline: Float[Tensor, "*#B coefficients 2"]
) -> tuple[Float[Tensor, "*B N 2"], Float[Tensor, "*B N 2 2"]]:
    """A spline's values and gradients: row i, column j is the change of its i-th component along axis j."""
    right, down, squared, log = distances(xy, centres)
    bent, constant, along_x, along_y = spline.split([len(centres), 1, 1, 1], dim=-2)
    value = (0.5 * squared * log) @ bent + constant + xy[..., :1] * along_x + xy[..., 1:] * along_y
    rise = log + 1  # d (r^2 log r) / d x = (2 log r + 1) x
    return value, torch.stack([(rise * right) @ bent + along_x, (rise * down) @ bent + along_y], dim=-1)


def thin_plate_spline(
    centres: Float[Tensor, "K 2"], values: Float[Tensor, "*B K 2"]
) -> Float[Tensor, "*B coefficients 2"]:
    """The coefficients of the spline that takes given values at its centres and bends least between them."""
    num = len(centres)
    functions = thin_plate(centres, centres)  # K, K + 3
    below = torch.cat([functions[:, num:].mT, torch.zeros(3, 3, dtype=centres.dtype)], dim=-1)
    system = torch.cat([functions, below])
    return torch.linalg.solve(system, torch.cat([values, values.new_zeros(*values.shape[:-2], 3, 2)], dim=-2))


def distances(
    xy: Float[Tensor, "*B N 2"], centres: Float[Tensor, "K 2"]
) -> tuple[Float[Tensor, "*B N K"], ...]:
    """From each centre to each place: along x, along y, squared, and the logarithm of that."""
    right, down = xy[..., 0, None] - centres[:, 0], xy[..., 1, None] - centres[:, 1]
    squared = right * right + down * down
    return right, down, squared, squared.clamp(min=LEAST).log()


def solved(matrix: Float[Tensor, "*B 2 2"], value: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2"]:
    """Small systems of equations, many at once: far quicker than torch.linalg.solve."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    x, y = value.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], dim=-1) / (a * d - b * c)[..., None]
