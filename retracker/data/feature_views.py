"""Where two views come from: one picture in two perspectives, or crops of a posed pair with depth."""

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from retracker.data.augment import Transform
from retracker.data.feature_pairs import Picture, StoredAt, TwoViews, Views
from retracker.data.indexed_pairs import IndexedPairs
from retracker.data.pairs import Pairs, fitted, read_size
from retracker.data.picture_warps import (
    Warping,
    draw_warp,
    find,
    frames_of,
    inside,
    render,
)
from retracker.data.pictures import Pictures
from retracker.data.recordings import Unusable
from retracker.data.sources import Scenes, named
from retracker.data.supervision import query_points, transfer
from retracker.geometry.camera import invert
from retracker.geometry.plane_warp import PlaneWarp
from retracker.types import PairSample, Queries, VideoSample

CANDIDATES = 64  # points of view 0 among which one that both views show is looked for


class WarpedViews(Views):
    """Any picture in two random perspectives, ``size`` x ``size`` px each, and in other colours.

    What lies beyond it shows another picture, if there is one: things that have no match.
    """

    def __init__(self, pictures: Pictures, size: int, warping: Warping, looks: Transform) -> None:
        if size < 1:
            raise ValueError(f"size: expected at least 1 px, got {size}")
        self.pictures, self.size, self.warping, self.looks = pictures, size, warping, looks

    def draw(self, rng: np.random.Generator) -> TwoViews:
        index, other = (int(number) for number in rng.integers(len(self.pictures), size=2))
        picture, warp = self._warped(index, rng)
        size = (picture.shape[0], picture.shape[1])
        video = render(np.maximum(picture, 1), warp, self.size)  # so that 0 is what lies beyond it
        beyond = (video == 0).all(1, keepdim=True)  # T 1 H W
        if other != index and beyond.any():
            video = torch.where(beyond, render(*self._warped(other, rng), self.size), video)
        name = f"warped/{self.pictures.name(index)}"
        video = self.looks(_clip(video, name), rng).video
        move = partial(_warped_to, warp=warp, picture=size, side=self.size)
        return TwoViews(
            picture0=Picture(pixels=video[0]),
            picture1=Picture(pixels=video[1]),
            forth=partial(move, start=0, end=1),
            back=partial(move, start=1, end=0),
            name=name,
        )

    def _warped(self, index: int, rng: np.random.Generator) -> tuple[UInt8[np.ndarray, "H W 3"], PlaneWarp]:
        with named(index):
            picture = self.pictures.read(index)
        return picture, draw_warp((picture.shape[0], picture.shape[1]), 2, self.warping, rng)


class PosedViews(Views):
    """Crops of posed pairs, at most ``crop`` px a side, around a point that both views show.

    ``tolerance``: by which share two depths of one surface may differ. D2-Net and FeatureBooster compare
    with 0.05 units of the scene instead, which has no scale of its own.
    """

    def __init__(self, pairs: Pairs, crop: int, tolerance: float | int, scene_balance: float | int) -> None:
        if crop < 1 or tolerance <= 0:
            raise ValueError(f"expected crop >= 1 px and tolerance > 0, got {crop} and {tolerance}")
        self.pairs, self.crop, self.tolerance = pairs, crop, tolerance
        self.scenes = Scenes(map(pairs.scene, range(len(pairs))), scene_balance)

    def draw(self, rng: np.random.Generator) -> TwoViews:
        index = self.scenes.draw(rng)
        with named(index):
            pair = self.pairs[index]
        xy = query_points(pair, CANDIDATES, rng)
        found = transfer(pair, xy, self.tolerance)
        common = found.seen.nonzero()[:, 0]
        if not len(common):
            raise Unusable(f"{pair.name}: no point of {CANDIDATES} is seen in both views")
        corner0 = crop_around(xy[common[0]], pair.size0, self.crop)
        corner1 = crop_around(found.xy[common[0]], pair.size1, self.crop)
        move = partial(_posed_to, crop=self.crop, tolerance=float(self.tolerance))
        return TwoViews(
            picture0=self._picture(index, 0, _cropped(pair.image0, pair.size0, corner0, self.crop), corner0),
            picture1=self._picture(index, 1, _cropped(pair.image1, pair.size1, corner1, self.crop), corner1),
            forth=partial(move, pair=pair, corner=corner0, other=corner1),
            back=partial(move, pair=swapped(pair), corner=corner1, other=corner0),
            name=pair.name,
        )

    def _picture(
        self, index: int, side: int, pixels: UInt8[Tensor, "3 H W"], corner: tuple[int, int]
    ) -> Picture:
        if not isinstance(self.pairs, IndexedPairs):
            return Picture(pixels=pixels)
        path, _ = self.pairs.paths(self.pairs.pairs[index, side])
        with named(index):
            height, width = size = read_size(self.pairs.storage, path)
        new_height, new_width = fitted(height, width, self.pairs.size)
        stored = StoredAt(
            storage=self.pairs.storage,
            path=path,
            index=index,
            size=size,
            scale=(new_width / width, new_height / height),
            corner=corner,
        )
        return Picture(pixels=pixels, stored=stored)


def crop_around(xy: Float[Tensor, "2"], size: Tensor, crop: int) -> tuple[int, int]:
    """The upper left corner (x, y) of a square crop about a point, moved so that it lies in the image.

    Of an image that is smaller, it is the whole.
    """
    height, width = size.tolist()
    x, y = (int(place) - crop // 2 for place in xy)
    return max(0, min(x, width - crop)), max(0, min(y, height - crop))


def swapped(pair: PairSample) -> PairSample:
    """The same pair, the other way round."""
    return replace(
        pair,
        image0=pair.image1,
        image1=pair.image0,
        size0=pair.size1,
        size1=pair.size0,
        depth0=pair.depth1,
        depth1=pair.depth0,
        intrinsics0=pair.intrinsics1,
        intrinsics1=pair.intrinsics0,
        pose_0to1=invert(pair.pose_0to1),
    )


def _cropped(
    image: UInt8[Tensor, "3 H W"], size: Tensor, corner: tuple[int, int], crop: int
) -> UInt8[Tensor, "3 h w"]:
    (height, width), (x, y) = size.tolist(), corner
    return image[:, y : min(y + crop, height), x : min(x + crop, width)].contiguous()


def _posed_to(
    xy: Float[Tensor, "N 2"],
    pair: PairSample,
    corner: tuple[int, int],
    other: tuple[int, int],
    crop: int,
    tolerance: float,
) -> tuple[Float[Tensor, "N 2"], Bool[Tensor, " N"]]:
    """From a crop of view 0 to one of view 1, which what lies beyond it is not seen in."""
    found = transfer(pair, xy + xy.new_tensor(corner), tolerance)
    there = found.xy - found.xy.new_tensor(other)
    return there, found.seen & ((there >= 0) & (there < crop)).all(-1)


def _warped_to(
    xy: Float[Tensor, "N 2"], warp: PlaneWarp, picture: tuple[int, int], side: int, start: int, end: int
) -> tuple[Float[Tensor, "N 2"], Bool[Tensor, " N"]]:
    """From one frame of a warp to another, where it lies in that frame."""
    first, second = (frames_of(warp, slice(frame, frame + 1)) for frame in (start, end))
    source, ahead = first.source(xy[None].double() / side)
    there, found = find(second, source)
    seen = ahead & found & inside(source, picture) & ((there >= 0) & (there < 1)).all(-1)
    return there[0] * side, seen[0]


def _clip(video: UInt8[Tensor, "T 3 H W"], name: str) -> VideoSample:
    """Frames as a sample without points: transforms of looks ask for one."""
    never = torch.zeros(len(video), 0, dtype=torch.bool)
    return VideoSample(
        video=video,
        queries=Queries(xy=torch.zeros(0, 2), frame=torch.zeros(0, dtype=torch.long)),
        tracks=torch.zeros(len(video), 0, 2),
        visible=never,
        labelled=never,
        located=never,
        name=name,
    )
