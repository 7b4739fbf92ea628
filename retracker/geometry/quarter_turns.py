"""Images that are turned by quarters of a circle, as numpy.rot90 does it, and the cameras that took them."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

QUARTER = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]  # what pointed right points up then


def turn_image(image: UInt8[Tensor, "C H W"], turns: int) -> UInt8[Tensor, "C high wide"]:
    """The image after ``turns`` quarters, each counter-clockwise as seen on the screen."""
    return torch.rot90(image, turns, (1, 2)).contiguous()


def turn_intrinsics(
    intrinsics: Float[Tensor, "3 3"], size: tuple[float | int, float | int], turns: int
) -> Float[Tensor, "3 3"]:
    """Those of the turned image of a camera whose image has the (height, width) ``size``: raster px."""
    if turns % 4 == 0:
        return intrinsics
    height, width = size
    quarter = intrinsics.new_tensor(QUARTER)
    on_raster = quarter.clone()
    on_raster[1, 2] = width  # (x, y) goes to (y, width - x)
    return turn_intrinsics(on_raster @ intrinsics @ quarter.mT, (width, height), turns % 4 - 1)


def turn_pose(pose: Float[Tensor, "4 4"], turns: int) -> Float[Tensor, "4 4"]:
    """The pose (world -> camera) of the camera of the turned image."""
    turned = torch.eye(4, dtype=pose.dtype)
    turned[:3, :3] = torch.linalg.matrix_power(pose.new_tensor(QUARTER), turns % 4)
    return turned @ pose
