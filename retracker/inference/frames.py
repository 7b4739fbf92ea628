"""What comes in: frames of any size, brought to the size a network works at, and points inside them."""

from math import log2

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

# Points treated at once, always as many: users ask for hundreds, and empty slots cost as much as taken ones.
GROUP_SIZE = 104
SMALLEST = 200  # px: the square root of the area to which even the smallest films are enlarged
SHORTEST_PX = 32  # even of the oddest shape, so that every feature level has a few cells


def working_size(height: int, width: int, image_size: float | int) -> tuple[int, int]:
    """The (height, width) with the frame's aspect and about ``image_size ** 2`` pixels.

    Raises ValueError unless ``image_size`` is above 0.
    """
    if not image_size > 0:
        raise ValueError(f"image_size: expected a number of px above 0, got {image_size}")
    scale = image_size / (height * width) ** 0.5
    return max(SHORTEST_PX, round(scale * height)), max(SHORTEST_PX, round(scale * width))


def tracking_size(net: nn.Module, size: tuple[int, int], image_size: int | None) -> tuple[int, int]:
    """The (height, width) at which a net follows points through frames of ``size``, (height, width).

    About ``image_size ** 2`` pixels. None: the net's own, but small films are enlarged no more than
    ``net.most_enlarged`` times, or to ``SMALLEST`` where that is more (docs/study.md, "Small videos").
    """
    if not image_size:
        image_size = net.image_size
        if net.most_enlarged is not None:
            image_size = min(image_size, max(SMALLEST, net.most_enlarged * (size[0] * size[1]) ** 0.5))
    return working_size(*size, image_size)


def resize(frame: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
    """Resample a frame to (height, width), antialiased; raster coordinates scale by the pure ratio."""
    if frame.shape[-2:] == size:
        return frame
    mode = {"mode": "bilinear", "antialias": True, "align_corners": False}
    return F.interpolate(frame[None].float(), size, **mode)[0].round().clamp(0, 255).to(torch.uint8)


def finest_size(size: tuple[int, int], max_size: int | None) -> tuple[int, int]:
    """The (height, width) that positions are refined at: its own, no side longer than ``max_size`` px."""
    share = min(1.0, (max_size or max(size)) / max(size))
    return max(1, round(share * size[0])), max(1, round(share * size[1]))


def views(
    frame: UInt8[Tensor, "3 H W"], small: tuple[int, int], finest: tuple[int, int]
) -> list[UInt8[Tensor, "3 _ _"]]:
    """A frame at its working (height, width), and in doublings up to the finest, if that is larger."""
    growth = finest[0] / small[0], finest[1] / small[1]
    doublings = max(0, round(log2(max(growth))))
    shares = [step / doublings for step in range(1, doublings + 1)]
    sizes = [
        tuple(round(side * by**share) for side, by in zip(small, growth, strict=True)) for share in shares
    ]
    return [resize(frame, size) for size in (small, *sizes)]


def check_inside(points: Float[Tensor, "N 2"], size: tuple[int, int] | None, first_index: int = 0) -> None:
    """Raise ValueError naming the first point that is not finite, or outside a frame of (height, width)."""
    for index, (x, y) in enumerate(points.tolist(), start=first_index):
        where = f"query {index} at ({x:g}, {y:g})"
        if not torch.isfinite(points[index - first_index]).all():
            raise ValueError(f"{where}: expected finite x and y")
        if size is not None and not (0 <= x <= size[1] and 0 <= y <= size[0]):
            raise ValueError(f"{where} lies outside the frame of {shown(size)}")


def shown(size: tuple[int, int]) -> str:
    """A (height, width) as people write sizes."""
    return f"{size[1]} x {size[0]} px"
