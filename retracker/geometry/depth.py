"""Reading depth maps between their pixels, and telling where that means something."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DepthReading:
    """What a depth map says at N places; all of it is 0 or False where one of the pixels is unknown.

    Only the pixels that bear on a place count: up to four, and a single one at its very centre.
    """

    depth: Float[Tensor, " N"]
    smallest: Float[Tensor, " N"]  # of the pixels around
    largest: Float[Tensor, " N"]
    known: Bool[Tensor, " N"]

    def smooth(self, tolerance: float) -> Bool[Tensor, " N"]:
        """Whether the pixels around belong to one surface: they differ by no more than this share."""
        return self.known & (self.largest <= self.smallest * (1 + tolerance))


def read_depth(depth: Float[Tensor, "H W"], xy: Float[Tensor, "N 2"]) -> DepthReading:
    """Read a depth map (0: unknown) at raster pixels ``xy`` inside it.

    Inverse depth is interpolated, linearly in x and y: on a plane it is linear in the image, so that planes
    come out exact, also within half a pixel of the border, where it is continued outwards.
    """
    height, width = depth.shape
    corner = (xy - 0.5).floor()
    # The last cell of a map also serves the half pixel beyond its outermost centres.
    corner = torch.minimum(corner, corner.new_tensor([width - 2, height - 2])).clamp(min=0)
    share = xy - 0.5 - corner  # N 2
    share = torch.where(xy.new_tensor([width, height]) > 1, share, 0.0)
    column, row = corner.long().unbind(-1)
    far_row, far_column = (row + 1).clamp(max=height - 1), (column + 1).clamp(max=width - 1)
    index = torch.stack(
        [
            row * width + column,
            row * width + far_column,
            far_row * width + column,
            far_row * width + far_column,
        ]
    )
    around = depth.to(xy.dtype).flatten()[index]  # 4 N
    x, y = share.unbind(-1)
    weight = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y])  # 4 N
    counts = weight != 0
    known = ((around > 0) | ~counts).all(0)
    inverse = (torch.where(counts & known, weight / around, 0.0)).sum(0)
    known = known & (inverse > 0)  # continued beyond the border it may reach infinity
    return DepthReading(
        depth=torch.where(known, 1 / inverse, 0.0),
        smallest=torch.where(known, torch.where(counts, around, torch.inf).amin(0), 0.0),
        largest=torch.where(known, torch.where(counts, around, 0.0).amax(0), 0.0),
        known=known,
    )


def resize_depth(
    depth: Float[Tensor, "h w"], height: int, width: int, tolerance: float
) -> Float[Tensor, "H W"]:
    """A depth map (0: unknown) at the pixel centres of an image of another size that shows the same.

    Unknown where the pixels around a centre differ by more than the tolerance (a share): at depth edges
    there is nothing between near and far.
    """
    x = (torch.arange(width, dtype=torch.float64) + 0.5) * depth.shape[1] / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) * depth.shape[0] / height
    places = torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1)  # H W 2
    reading = read_depth(depth, places.flatten(0, 1))
    resized = torch.where(reading.smooth(tolerance), reading.depth, 0.0)
    return resized.to(depth.dtype).unflatten(0, (height, width))
