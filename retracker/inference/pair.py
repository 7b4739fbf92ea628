"""Matching two images: a clip of two frames, asked for a grid of points."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference.frames import channels_first, check_inside, resize, working_size
from retracker.inference.slots import GROUP_SIZE, FrameTracks, Slots
from retracker.media.image import read_image
from retracker.types import TensorStruct

DEFAULT_GRID = 32  # points a side


@dataclass(frozen=True, kw_only=True)
class Matches(TensorStruct):
    """Which points of image a were found in image b, on the CPU."""

    points_a: Float[Tensor, "M 2"]  # raster px of image a
    points_b: Float[Tensor, "M 2"]  # raster px of image b
    confidence: Float[Tensor, " M"]  # in [0, 1]
    index: Int[Tensor, " M"]  # which of the points asked for each one is


def match(
    model: nn.Module,
    image_a: Tensor | np.ndarray | str | Path,
    image_b: Tensor | np.ndarray | str | Path,
    points: Tensor | np.ndarray | Sequence | None = None,
    grid: int = DEFAULT_GRID,
    image_size: int | None = None,
) -> Matches:
    """Find points of image a in image b: the given (N, 2) in raster px, or a grid of ``grid`` points a side.

    Images are paths or uint8 (3,H,W) or (H,W,3), of any two sizes. Only points that the model finds visible
    and inside image b are returned. Raises ValueError for a point outside image a, and what ``read_image``
    raises.
    """
    image_a, image_b = _read(image_a), _read(image_b)
    sizes = [(image.shape[-2], image.shape[-1]) for image in (image_a, image_b)]
    points_a = _points(points, sizes[0]) if points is not None else grid_points(*sizes[0], grid)
    small = [working_size(*size, image_size or model.image_size) for size in sizes]
    with torch.inference_mode():
        slots = Slots(model, GROUP_SIZE)
        for index, xy in enumerate(rescale(points_a, sizes[0], small[0]).tolist()):
            slots.add(index, tuple(xy))
        for image, size in zip((image_a, image_b), small, strict=True):
            found = _step(slots, image, size)
    points_b = rescale(found.tracks, small[1], sizes[1]).clone()
    height, width = sizes[1]
    inside = ((points_b >= 0) & (points_b <= points_b.new_tensor([width, height]))).all(-1)
    index = (found.visible & inside).nonzero()[:, 0]
    return Matches(
        points_a=points_a[index],
        points_b=points_b[index],
        confidence=found.confidence.clone()[index],
        index=index,
    )


def grid_points(height: int, width: int, count: int) -> Float[Tensor, "N 2"]:
    """The centres of ``count`` x ``count`` equal tiles of an image, row by row, in raster px."""
    if count < 1:
        raise ValueError(f"expected a grid of at least 1 point a side, got {count}")
    x = (torch.arange(count) + 0.5) * width / count
    y = (torch.arange(count) + 0.5) * height / count
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


def _read(image: Tensor | np.ndarray | str | Path) -> UInt8[Tensor, "3 H W"]:
    return read_image(image) if isinstance(image, (str, Path)) else channels_first(torch.as_tensor(image))


def _points(points: Tensor | np.ndarray | Sequence, size: tuple[int, int]) -> Float[Tensor, "N 2"]:
    points = torch.as_tensor(points, dtype=torch.float32).detach().cpu()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points of shape (N, 2), got {tuple(points.shape)}")
    check_inside(points, size)
    return points


def _step(slots: Slots, image: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> FrameTracks:
    device = next(slots.net.parameters()).device
    return slots.step(slots.net.encode(resize(image.to(device), size)[None]))
