"""Homographies of the image plane: 3 x 3 matrices from raster pixels to raster pixels."""

import torch
from einops import einsum
from jaxtyping import Bool, Float
from torch import Tensor

NEAREST = 1e-6  # homogeneous scale below which a point lies on or behind the horizon


def transform(
    matrix: Float[Tensor, "*#B 3 3"], xy: Float[Tensor, "*#B N 2"]
) -> tuple[Float[Tensor, "*B N 2"], Bool[Tensor, "*B N"]]:
    """Where points (x, y), raster px of one image, lie in the other (raster px), and whether they do.

    A point behind the horizon lies nowhere, and is put at 0.
    """
    moved = xy.to(matrix.dtype) @ matrix[..., :2].mT + matrix[..., None, :, 2]  # B N 3
    depth = moved[..., 2]
    ahead = depth > NEAREST
    return moved[..., :2] * torch.where(ahead, 1 / depth, 0.0)[..., None], ahead


def jacobian(matrix: Float[Tensor, "*#B 3 3"], xy: Float[Tensor, "*#B N 2"]) -> Float[Tensor, "*B N 2 2"]:
    """How a small step at each point (x, y), raster px, is changed: row i, column j is d x'_i / d x_j."""
    there, _ = transform(matrix, xy)
    depth = (xy.to(matrix.dtype) @ matrix[..., 2, :2, None])[..., 0] + matrix[..., 2, 2, None]
    # x' = a / w, so dx' = (da - x' dw) / w.
    change = matrix[..., None, :2, :2] - there[..., None] * matrix[..., None, None, 2, :2]
    return change / depth[..., None, None]


def affine(
    linear: Float[Tensor, "*#B 2 2"], source: Float[Tensor, "*#B 2"], target: Float[Tensor, "*#B 2"]
) -> Float[Tensor, "*B 3 3"]:
    """The matrix that takes ``source`` to ``target`` and steps from there by ``linear``."""
    shift = target - einsum(linear, source, "... i j, ... j -> ... i")
    linear = linear.expand(*shift.shape[:-1], 2, 2)
    top = torch.cat([linear, shift[..., None]], dim=-1)  # B 2 3
    bottom = top.new_tensor([0.0, 0.0, 1.0]).expand(*top.shape[:-2], 1, 3)
    return torch.cat([top, bottom], dim=-2)


def turned(angle: Float[Tensor, "*B"], scale: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 2 2"]:
    """Scale along x and y, then turn clockwise as seen on the screen (y points down) by radians."""
    cos, sin = angle.cos(), angle.sin()
    rotation = torch.stack([torch.stack([cos, -sin], dim=-1), torch.stack([sin, cos], dim=-1)], dim=-2)
    return rotation * scale[..., None, :]


def for_indices(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3 3"]:
    """The same map for pixel indices, as OpenCV counts: there the upper-left pixel's centre is (0, 0)."""
    eye = torch.eye(2, dtype=matrix.dtype)
    half = torch.full((2,), 0.5, dtype=matrix.dtype)
    return affine(eye, half, torch.zeros_like(half)) @ matrix @ affine(eye, torch.zeros_like(half), half)


def from_indices(matrix: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3 3"]:
    """A map of pixel indices as one of raster pixels: what undoes ``for_indices``."""
    eye = torch.eye(2, dtype=matrix.dtype)
    half = torch.full((2,), 0.5, dtype=matrix.dtype)
    return affine(eye, torch.zeros_like(half), half) @ matrix @ affine(eye, half, torch.zeros_like(half))
