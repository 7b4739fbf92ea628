"""Which points to track: those given, or regular ones that are laid out once the frames' size is known."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.inference.frames import check_inside, shown
from retracker.inference.two_views import grid_points
from retracker.types import Queries

LAST_FRAME = 2**31 - 1  # no film is that long, and what is larger may not fit in an integer


class Layout(ABC):
    """Points of one ``frame``, wherever its size puts them."""

    frame: int

    @abstractmethod
    def points(self, height: int, width: int) -> Float[Tensor, "N 2"]:
        """The points of a frame of that size, raster px."""

    def queries(self, size: tuple[int, int]) -> Float[Tensor, "N 3"]:
        """The points as (t, x, y)."""
        points = self.points(*size).double()
        return torch.cat([torch.full_like(points[:, :1], self.frame), points], dim=-1)


@dataclass(frozen=True)
class Grid(Layout):
    """The centres of ``side`` x ``side`` equal tiles."""

    side: int
    frame: int = 0

    def points(self, height: int, width: int) -> Float[Tensor, "N 2"]:
        return grid_points(height, width, self.side)


@dataclass(frozen=True)
class Dense(Layout):
    """The centre of every ``spacing``-th pixel of every ``spacing``-th row; 1: all pixels.

    So many points take memory: see ``points_per_chunk`` of ``track``.
    """

    spacing: int = 1
    frame: int = 0

    def points(self, height: int, width: int) -> Float[Tensor, "N 2"]:
        if self.spacing < 1:
            raise ValueError(f"expected a spacing of at least 1 px, got {self.spacing}")
        first = (self.spacing - 1) // 2  # as far from one border as from the other
        x, y = (torch.arange(min(first, side - 1), side, self.spacing) + 0.5 for side in (width, height))
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


@dataclass(frozen=True)
class Mask(Layout):
    """Those of ``Dense`` points that lie where a mask of the frame (H, W) is not 0."""

    mask: Bool[Tensor, "H W"] | Bool[np.ndarray, "H W"]
    spacing: int = 8
    frame: int = 0

    def points(self, height: int, width: int) -> Float[Tensor, "N 2"]:
        mask = torch.as_tensor(self.mask) != 0
        if mask.shape != (height, width):
            found = shown(tuple(mask.shape)) if mask.ndim == 2 else f"shape {tuple(mask.shape)}"
            raise ValueError(f"expected a mask of the frame's {shown((height, width))}, got {found}")
        points = Dense(self.spacing).points(height, width)
        points = points[sample_mask(mask, points)]
        if not len(points):
            raise ValueError(f"the mask holds none of the points that lie {self.spacing} px apart")
        return points


def sample_mask(mask: Bool[Tensor, "H W"], points: Float[Tensor, "N 2"]) -> Bool[Tensor, " N"]:
    """Whether the mask is set in the pixel that each point (raster px) lies in."""
    column, row = points.long().unbind(-1)
    return mask[row.clamp(max=mask.shape[0] - 1), column.clamp(max=mask.shape[1] - 1)]


def parse_queries(queries: Tensor | np.ndarray | Sequence | Layout, size: tuple[int, int]) -> Queries:
    """Queries (N, 3) = (t, x, y), or a layout of them, in frames of (height, width), as a record.

    Raises ValueError naming which of them is wrong, and how.
    """
    table = queries.queries(size) if isinstance(queries, Layout) else _table(queries)
    check_inside(table[:, 1:].float(), size=None)
    for index, t in enumerate(table[:, 0].tolist()):
        if not (0 <= t <= LAST_FRAME and t.is_integer()):
            raise ValueError(
                f"query {index}: expected a whole frame number from 0 to {LAST_FRAME}, got {t:g}"
            )
    check_inside(table[:, 1:].float(), size)
    return Queries(xy=table[:, 1:].float(), frame=table[:, 0].long())


def _table(queries: Tensor | np.ndarray | Sequence) -> Float[Tensor, "N 3"]:
    table = torch.as_tensor(np.array(queries) if isinstance(queries, np.ndarray) else queries)
    if table.ndim != 2 or table.shape[1] != 3:
        raise ValueError(f"expected queries of shape (N, 3) = (t, x, y), got {tuple(table.shape)}")
    return table.detach().cpu().double()
