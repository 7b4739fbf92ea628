"""The one place where pixel coordinates become sampling coordinates."""

from math import ceil

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.types import FeatureLevel, Grid


def sample(level: FeatureLevel, xy: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N C"]:
    """Bilinearly read a feature level at pixels ``xy``; beyond the map its border is repeated.

    What is read at NaN is NaN: torch's own backward pass on CPUs would take it for an index, and crash.
    """
    height, width = level.map.shape[-2:]
    nowhere = xy.isnan()
    known = xy.masked_fill(nowhere, 0.0)
    cell = (known.float() - level.offset) / level.stride  # index of a cell; a cell's centre is a whole number
    size = cell.new_tensor([width, height])
    grid = (2 * cell + 1) / size - 1
    values = F.grid_sample(
        level.map, grid[:, :, None].to(level.map.dtype), padding_mode="border", align_corners=False
    )
    found = values[..., 0].transpose(1, 2)  # B C N 1 -> B N C
    return found.masked_fill(nowhere.any(-1, keepdim=True), torch.nan)


def sample_image(image: Float[Tensor, "B C H W"], xy: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N C"]:
    """Bilinearly read an image (or any map of its size) at raster pixels ``xy``; the border is repeated."""
    return sample(FeatureLevel(map=image, stride=1.0, offset=0.5), xy)


def sample_laid(
    image: Float[Tensor, "1 C H W"],
    xy: Float[Tensor, "N 2"],
    affine: Float[Tensor, "N 2 2"],
    offsets: Float[Tensor, "P 2"],
) -> Float[Tensor, "C N P"]:
    """Bilinearly read patches of an image, each laid by an affine map: at ``xy + affine @ offset`` (px)."""
    scale = 2 / xy.new_tensor([image.shape[-1], image.shape[-2]])
    # One product for all patches: as a batch of small ones it would take longer than the reading itself.
    along = torch.stack([F.pad(offsets.mT, (0, 0, 0, 2)), F.pad(offsets.mT, (0, 0, 2, 0))], dim=-1)  # 4 P 2
    steps = ((scale[:, None] * affine).flatten(1) @ along.flatten(1)).unflatten(1, (-1, 2))
    grid = steps + (scale * xy - 1)[:, None]  # not in the product: its factors may have few digits on GPUs
    return F.grid_sample(image, grid[None], padding_mode="border", align_corners=False)[0]


def patch_offsets(radius: int, device: torch.device) -> Float[Tensor, "P 2"]:
    """The (x, y) offsets, in cells and row by row, of a square patch of ``2 * radius + 1`` cells a side."""
    steps = torch.arange(-radius, radius + 1, device=device, dtype=torch.float32)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def sample_patches(level: FeatureLevel, xy: Float[Tensor, "B N 2"], radius: int) -> Float[Tensor, "B N P C"]:
    """Read a square patch of cells, one cell apart, centred on each of the pixels ``xy``."""
    around = xy[:, :, None] + patch_offsets(radius, xy.device) * level.stride  # B N P 2
    return sample(level, around.flatten(1, 2)).unflatten(1, around.shape[1:3])


def windows(
    level: FeatureLevel, xy: Float[Tensor, "B N 2"], radius: int
) -> tuple[Float[Tensor, "B N side side C"], Float[Tensor, "B N 2"]]:
    """The whole cells, ``2 * radius + 2`` a side, between which ``sample_patches`` interpolates, unweighted.

    Patch entry (i, j) lies between window entries i and i + 1 down, j and j + 1 across: by the returned
    (x, y) in [0, 1) of the way, the same for all entries. Rows first; beyond the map its border is repeated.
    """
    height, width = level.map.shape[-2:]
    cell = (xy.float() - level.offset) / level.stride
    corner = cell.floor()
    steps = torch.arange(-radius, radius + 2, device=xy.device)
    column, row = (corner.long()[..., None] + steps).unbind(-2)  # B N side
    place = row.clamp(0, height - 1)[..., None] * width + column.clamp(0, width - 1)[..., None, :]
    frame = torch.arange(len(xy), device=xy.device)[:, None, None, None] * (height * width)
    cells = level.map.permute(0, 2, 3, 1).flatten(0, 2)  # of channels-last maps a view
    found = cells.index_select(0, (place + frame).flatten())
    return found.unflatten(0, place.shape), cell - corner


def cell_centres(grid: Grid, device: torch.device) -> Float[Tensor, "K 2"]:
    """The centres of the cells of a grid, row by row, in pixels."""
    y, x = torch.meshgrid(
        torch.arange(grid.rows, device=device), torch.arange(grid.columns, device=device), indexing="ij"
    )
    return torch.stack([x, y], dim=-1).reshape(-1, 2).float() * grid.stride + grid.offset


def cell_index(grid: Grid, xy: Float[Tensor, "*B 2"]) -> tuple[Tensor, Bool[Tensor, "*B"]]:
    """The cell nearest to each point (``Int[*B]``, row by row), and whether the point is in the grid."""
    cell = ((xy - grid.offset) / grid.stride).round().long()
    limit = cell.new_tensor([grid.columns, grid.rows])
    inside = ((cell >= 0) & (cell < limit)).all(-1)
    column, row = torch.minimum(cell.clamp(min=0), limit - 1).unbind(-1)
    return row * grid.columns + column, inside


def grid_of(level: FeatureLevel, height: int, width: int) -> Grid:
    """The cells of a level whose centres lie inside a frame of the given size; the rest is padding."""
    rows, columns = (_count(size, level) for size in (height, width))
    return Grid(
        rows=min(rows, level.map.shape[-2]),
        columns=min(columns, level.map.shape[-1]),
        stride=level.stride,
        offset=level.offset,
    )


def _count(size: int, level: FeatureLevel) -> int:
    return max(1, ceil((size - level.offset) / level.stride))  # a centre on the border is outside


def rescale(
    xy: Float[Tensor, "*B 2"], size: tuple[int, int], new_size: tuple[float | int, float | int]
) -> Float[Tensor, "*B 2"]:
    """Points (x, y) in raster px of an image of ``size``, in raster px of it resized to ``new_size``.

    Both sizes are (height, width) in px, or whatever else points are to be measured in: a pure ratio.
    """
    (height, width), (new_height, new_width) = size, new_size
    return xy * xy.new_tensor([new_width / width, new_height / height])


def flip_horizontally(xy: Float[Tensor, "*B 2"], width: int) -> Float[Tensor, "*B 2"]:
    """Where points (x, y), raster px, land when their image, ``width`` px wide, is mirrored left to right."""
    return torch.stack([width - xy[..., 0], xy[..., 1]], dim=-1)
