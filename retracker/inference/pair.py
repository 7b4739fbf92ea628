"""Matching two images: a grid of points, or given ones, found in the other image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from retracker.inference.checks import check_probability
from retracker.inference.corners import corner_points
from retracker.inference.frames import check_inside
from retracker.inference.image_encoder import KEPT_IMAGES, ImageEncoder, ImageSource, View, as_tensor
from retracker.inference.sampling import balanced_sample
from retracker.inference.two_views import TwoViews, grid_points
from retracker.types import TensorStruct

DEFAULT_GRID = 32  # points a side
ROUND_TRIP_PX = 2.0  # at the network's working size


@dataclass(frozen=True, kw_only=True)
class Matches(TensorStruct):
    """Which points of image a were found in image b, on the CPU."""

    points_a: Float[Tensor, "M 2"]  # raster px of image a
    points_b: Float[Tensor, "M 2"]  # raster px of image b
    confidence: Float[Tensor, " M"]  # in [0, 1]
    index: Int[Tensor, " M"]  # which of the points asked for each one is

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, chosen: Bool[Tensor, " M"] | Int[Tensor, " K"]) -> "Matches":
        return self.map(lambda x: x[chosen])


class PairMatcher:
    """Matches one pair of images after another; files that come again are not encoded again.

    ``match_threshold``, in [0, 1], takes the place of the model's: how probable a match has to be.
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int | None = None,
        kept_images: int = KEPT_IMAGES,
        match_threshold: float | int | None = None,
    ) -> None:
        check_probability("match_threshold", match_threshold)
        self.match_threshold = match_threshold
        self.encoder = ImageEncoder(model, image_size, kept_images)

    def match(  # noqa: PLR0913 -- what is matched (2), where (2), how the matches are filtered (4)
        self,
        image_a: ImageSource,
        image_b: ImageSource,
        points: Tensor | np.ndarray | Sequence | None = None,
        grid: int = DEFAULT_GRID,
        corners: int | None = None,
        mutual: bool = False,
        round_trip_px: float | int = ROUND_TRIP_PX,
        num: int | None = None,
        seed: int = 0,
        subpixel: bool = True,
    ) -> Matches:
        """As ``retracker.match`` does."""
        first, second = self.encoder.open(image_a), self.encoder.open(image_b)
        if not round_trip_px >= 0:
            raise ValueError(f"round_trip_px: expected a number of px from 0 on, got {round_trip_px:g}")
        if num is not None and num < 1:
            raise ValueError(f"num: expected a positive number of matches, got {num}")
        asked = places_of(first.image, grid, corners) if points is None else as_points(points, first.size)
        forth, sharp = self.views(first, second), _sharpened if subpixel else _as_it_is
        if mutual:
            back = self.views(second, first)
            found = sharp(_found_back(_matched(forth, asked), back, round_trip_px), forth)
            if points is None:  # what b shows of the scene may be the smaller part
                places = places_of(second.image, grid, corners)
                other = sharp(_found_back(_matched(back, places), forth, round_trip_px), back)
                found = found.map(lambda *sides: torch.cat(sides), _turned(other, len(asked)))
        else:
            found = sharp(_matched(forth, asked), forth)
        if num is None:
            return found
        ends = (found.points_a / _wh(first), found.points_b / _wh(second))
        return found[balanced_sample(torch.cat(ends, dim=-1), found.confidence, num, seed)]

    def views(self, first: View, second: View) -> TwoViews:
        """A pair, in the second of which points of the first can be looked for."""
        return TwoViews(self.encoder, first, second, self.match_threshold)


def match(  # noqa: PLR0913 -- what is matched (3), where (3), how the matches are filtered (5)
    model: nn.Module,
    image_a: ImageSource,
    image_b: ImageSource,
    points: Tensor | np.ndarray | Sequence | None = None,
    grid: int = DEFAULT_GRID,
    image_size: int | None = None,
    mutual: bool = False,
    round_trip_px: float | int = ROUND_TRIP_PX,
    num: int | None = None,
    seed: int = 0,
    corners: int | None = None,
    subpixel: bool = True,
    match_threshold: float | int | None = None,
) -> Matches:
    """Find points of image a in image b: the given (N, 2) in raster px, or a grid of ``grid`` points a side.

    Or, where precision counts more than density, as for a relative pose, up to so many ``corners`` of it.

    Images are files or uint8 (3,H,W) or (H,W,3), of any two sizes; ``image_size`` is the working size, if
    not the model's own. Only points that the model finds inside image b, with a probability of more than
    ``match_threshold`` (the model's own, if not given; at 0 any) are returned, none whose surroundings, here
    or there, are of one colour. With ``mutual`` a point must also be found back, less than ``round_trip_px``
    (at the working size of image a) from where it started; and a grid, or corners, of both images are taken,
    b's points counted on from a's in ``index`` and less than that from their own start. Of more than ``num``
    matches a sample is returned, balanced by certainty and density
    (``sampling.py``), the same for the same ``seed``. With ``subpixel`` the ends found are moved to where
    the grey values around them fit best (``subpixel.py``), at full resolution. Raises ValueError for a point
    outside image a, and what ``read_image`` raises.
    """
    matcher = PairMatcher(model, image_size, kept_images=0, match_threshold=match_threshold)
    return matcher.match(
        image_a,
        image_b,
        points=points,
        grid=grid,
        corners=corners,
        mutual=mutual,
        round_trip_px=round_trip_px,
        num=num,
        seed=seed,
        subpixel=subpixel,
    )


def places_of(image: UInt8[Tensor, "3 H W"], grid: int, corners: int | None) -> Float[Tensor, "N 2"]:
    """The points of an image, in its raster px, that are matched if none are given: a grid, or corners."""
    height, width = image.shape[-2:]
    return grid_points(height, width, grid) if corners is None else corner_points(image, corners)


def as_points(points: Tensor | np.ndarray | Sequence, size: tuple[int, int]) -> Float[Tensor, "N 2"]:
    """Points (N, 2) of an image of (height, width); raises ValueError naming the first that is not in it."""
    points = as_tensor(points).detach().cpu().float()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points of shape (N, 2), got {tuple(points.shape)}")
    check_inside(points, size)
    return points


def _matched(forth: TwoViews, xy: Float[Tensor, "N 2"]) -> Matches:
    """Which points of the first view are found in the second."""
    found = forth.find(xy)
    index = found.matched.nonzero()[:, 0]
    return Matches(
        points_a=xy[index], points_b=found.xy[index], confidence=found.confidence[index], index=index
    )


def _found_back(matches: Matches, back: TwoViews, round_trip_px: float | int) -> Matches:
    """Those that lead back to less than ``round_trip_px`` (at the working size) from where they started."""
    found = back.find(matches.points_b)
    apart = back.at_working_size(found.xy - matches.points_a).norm(dim=-1)
    return matches[found.matched & (apart < round_trip_px)]


def _sharpened(matches: Matches, way: TwoViews) -> Matches:
    """With their second ends where the images themselves say."""
    return replace(matches, points_b=way.sharpen(matches.points_a, matches.points_b))


def _as_it_is(matches: Matches, way: TwoViews) -> Matches:
    del way
    return matches


def _turned(matches: Matches, first_index: int) -> Matches:
    """Matches from b to a as matches from a to b."""
    return replace(
        matches,
        points_a=matches.points_b,
        points_b=matches.points_a,
        index=matches.index + first_index,
    )


def _wh(view: View) -> Float[Tensor, "2"]:
    height, width = view.size
    return torch.tensor([float(width), float(height)])
