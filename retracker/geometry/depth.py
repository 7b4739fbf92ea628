"""Reading depth maps between their pixels, and telling where that means something."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DepthReading:
    """What a depth map says at some places. Where it is not ``known``, the numbers mean nothing.

    Only the pixels that bear on a place count: up to four, and a single one at its very centre.
    """

    depth: Float[Tensor, "*S"]
    smallest: Float[Tensor, "*S"]  # of the pixels around
    largest: Float[Tensor, "*S"]
    known: Bool[Tensor, "*S"]  # all of them are

    def smooth(self, tolerance: float) -> Bool[Tensor, "*S"]:
        """Whether the pixels around belong to one surface: they differ by no more than this share."""
        return self.known & (self.largest <= self.smallest * (1 + tolerance))


def read_depth(depth: Float[Tensor, "H W"], xy: Float[Tensor, "N 2"]) -> DepthReading:
    """Read a depth map (0: unknown) at raster pixels ``xy`` inside it.

    Inverse depth is interpolated, linearly in x and y: on a plane it is linear in the image, so that planes
    come out exact, also within half a pixel of the border, where it is continued outwards.
    """
    height, width = depth.shape
    left, right, x = _neighbours(xy[:, 0], width)
    above, below, y = _neighbours(xy[:, 1], height)
    pixels = depth.flatten()
    around = [pixels[row * width + column].to(xy.dtype) for row in (above, below) for column in (left, right)]
    return _reading(around, x, y)


def resize_depth(
    depth: Float[Tensor, "h w"], height: int, width: int, tolerance: float
) -> Float[Tensor, "H W"]:
    """A depth map (0: unknown) at the pixel centres of an image of another size that shows the same.

    Unknown where the pixels around a centre differ by more than the tolerance (a share): at depth edges
    there is nothing between near and far.
    """
    columns, rows = (torch.arange(side, dtype=torch.float64) + 0.5 for side in (width, height))
    left, right, x = _neighbours(columns * depth.shape[1] / width, depth.shape[1])
    above, below, y = _neighbours(rows * depth.shape[0] / height, depth.shape[0])
    around = [
        depth.index_select(0, row).index_select(1, column)
        for row in (above, below)
        for column in (left, right)
    ]
    reading = _reading(around, x.to(depth.dtype), y[:, None].to(depth.dtype))
    return torch.where(reading.smooth(tolerance), reading.depth, 0.0)


def _neighbours(
    place: Float[Tensor, " N"], size: int
) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"], Float[Tensor, " N"]]:
    """The pixels before and after each place of an axis, and which share of the way between them it has gone.

    At a pixel's centre both are that pixel. The outermost two also serve the half pixel beyond them.
    """
    first = (place - 0.5).floor().clamp(0, max(0, size - 2))
    share = place - 0.5 - first
    before = (first + (share == 1)).long().clamp(max=size - 1)
    after = (first + (share != 0)).long().clamp(max=size - 1)
    return before, after, share


def _reading(
    around: list[Float[Tensor, "*S"]], x: Float[Tensor, "..."], y: Float[Tensor, "..."]
) -> DepthReading:
    """From the depth above left, above right, below left and below right of each place."""
    smallest = torch.minimum(torch.minimum(around[0], around[1]), torch.minimum(around[2], around[3]))
    largest = torch.maximum(torch.maximum(around[0], around[1]), torch.maximum(around[2], around[3]))
    above, above_right, below, below_right = (depth.reciprocal() for depth in around)
    above = above + x * (above_right - above)  # inf or nan where a pixel is unknown
    below = below + x * (below_right - below)
    inverse = above + y * (below - above)
    known = (smallest > 0) & (inverse > 0)  # continued beyond the border it may reach infinity
    return DepthReading(depth=inverse.reciprocal(), smallest=smallest, largest=largest, known=known)
