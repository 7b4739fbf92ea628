"""A semi-dense warp: where a regular grid of one image lies in another, and how sure that is."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retracker.geometry.coords import rescale, sample_image
from retracker.inference.image_encoder import ImageSource
from retracker.inference.pair import PairMatcher
from retracker.inference.two_views import grid_points, tile_centres
from retracker.types import TensorStruct

DEFAULT_WARP_GRID = 64  # tiles a side
LEAST = 1e-4  # certainty that even the least certain neighbour counts with: what is unknown stays finite


@dataclass(frozen=True, kw_only=True)
class Warp(TensorStruct):
    """For the centre of each of rows x columns equal tiles of image a, its place in image b; on the CPU."""

    positions: Float[Tensor, "rows columns 2"]  # raster px of image b; finite even where nothing is known
    certainty: Float[Tensor, "rows columns"]  # in [0, 1]; 0: hidden, outside b, or nothing to see
    size_a: tuple[int, int]  # height and width, px
    size_b: tuple[int, int]

    @property
    def start(self) -> Float[Tensor, "rows columns 2"]:
        """The centres of the tiles, raster px of image a."""
        return tile_centres(self.size_a, *self.certainty.shape)

    @property
    def flow(self) -> Float[Tensor, "rows columns 2"]:
        """From each tile's centre in image a to its position in image b, px."""
        return self.positions - self.start

    def resized(self, height: int, width: int) -> "Warp":
        """The warp on a grid of height x width tiles, interpolated bilinearly; px stay those of a and b.

        Flows count by their certainty, so that what is unknown does not bend its neighbours; beyond the
        outermost centres the flow is that of the nearest.
        """
        where = tile_centres(self.size_a, height, width)
        xy = rescale(where, self.size_a, tuple(self.certainty.shape)).reshape(1, -1, 2)
        weight = self.certainty.clamp(min=LEAST)[..., None]
        maps = torch.cat([weight, weight * self.flow, self.certainty[..., None]], dim=-1)
        values = sample_image(maps.permute(2, 0, 1)[None], xy)[0].reshape(height, width, 4)
        positions = where + values[..., 1:3] / values[..., :1]
        return replace(self, positions=positions, certainty=values[..., 3])


def warp(
    model: nn.Module,
    image_a: ImageSource,
    image_b: ImageSource,
    grid: int = DEFAULT_WARP_GRID,
    image_size: int | None = None,
    match_threshold: float | int | None = None,
) -> Warp:
    """Where ``grid`` x ``grid`` tiles of image a lie in image b; ``.resized(h, w)`` makes it dense.

    Images are files or uint8 (3,H,W) or (H,W,3), of any two sizes. Tiles that are found with no more
    probability than ``match_threshold`` (if not given, the model's) get certainty 0. Raises what
    ``retracker.match`` raises.
    """
    matcher = PairMatcher(model, image_size, kept_images=0, match_threshold=match_threshold)
    return warp_pair(matcher, image_a, image_b, grid)


def warp_pair(
    matcher: PairMatcher, image_a: ImageSource, image_b: ImageSource, grid: int = DEFAULT_WARP_GRID
) -> Warp:
    """As ``warp``, by a matcher that may know the images already."""
    first, second = matcher.encoder.open(image_a), matcher.encoder.open(image_b)
    found = matcher.views(first, second).find(grid_points(*first.size, grid))
    return Warp(
        positions=found.xy.reshape(grid, grid, 2),
        certainty=(found.confidence * found.matched).reshape(grid, grid),
        size_a=first.size,
        size_b=second.size,
    )
