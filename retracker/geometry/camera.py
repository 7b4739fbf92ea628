"""Pinhole cameras: x right, y down, z ahead; poses are world -> camera, intrinsics camera -> raster px."""

import torch
from jaxtyping import Float
from torch import Tensor


def project(
    points: Float[Tensor, "*B N 3"], intrinsics: Float[Tensor, "*B 3 3"]
) -> tuple[Float[Tensor, "*B N 2"], Float[Tensor, "*B N"]]:
    """Where points of the camera frame are seen (px), and their depth along the optical axis.

    A point that is not in front (depth 0 or less) is seen nowhere: its position means nothing, and may not
    be finite.
    """
    scaled = points @ intrinsics.mT  # *B N 3: (x z, y z, z)
    return scaled[..., :2] / points[..., 2:], points[..., 2]


def unproject(
    xy: Float[Tensor, "*B N 2"], depth: Float[Tensor, "*B N"], intrinsics: Float[Tensor, "*B 3 3"]
) -> Float[Tensor, "*B N 3"]:
    """The points of the camera frame that are seen at pixels ``xy`` at a depth along the optical axis."""
    rays = torch.cat([xy, torch.ones_like(xy[..., :1])], dim=-1) @ torch.linalg.inv(intrinsics).mT
    return rays * depth[..., None]


def transform(pose: Float[Tensor, "*B 4 4"], points: Float[Tensor, "*B N 3"]) -> Float[Tensor, "*B N 3"]:
    """Points in the frame that ``pose`` leads to."""
    return points @ pose[..., :3, :3].mT + pose[..., None, :3, 3]


def invert(pose: Float[Tensor, "*B 4 4"]) -> Float[Tensor, "*B 4 4"]:
    """The way back of a rigid motion."""
    back = pose[..., :3, :3].mT
    moved = -(back @ pose[..., :3, 3:])
    last = torch.zeros_like(pose[..., 3:, :])
    last[..., 3] = 1
    return torch.cat([torch.cat([back, moved], dim=-1), last], dim=-2)


def relative_pose(pose0: Float[Tensor, "*B 4 4"], pose1: Float[Tensor, "*B 4 4"]) -> Float[Tensor, "*B 4 4"]:
    """From the camera frame of view 0 to that of view 1, given both poses (world -> camera)."""
    return pose1 @ invert(pose0)


def scale_intrinsics(
    intrinsics: Float[Tensor, "*B 3 3"], size: tuple[int, int], new_size: tuple[float | int, float | int]
) -> Float[Tensor, "*B 3 3"]:
    """Those of an image resized from (height, width) ``size`` to ``new_size``: a pure ratio in raster px."""
    (height, width), (new_height, new_width) = size, new_size
    return intrinsics * intrinsics.new_tensor([[new_width / width], [new_height / height], [1]])
