"""Images as a network sees them, the last few of which are kept: lists of pairs name most images often."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference.checks import check_tracker
from retracker.inference.frames import resize, working_size
from retracker.media.files import existing_file
from retracker.media.image import read_image
from retracker.media.sources import rgb
from retracker.types import FeaturePyramid, TensorStruct

SURROUNDINGS_PX = 16  # at the working size: two cells of the coarsest grid to each side
FLAT_LEVELS = 2  # of 255: what rounding and JPEG do to one colour
KEPT_IMAGES = 16  # by default; with the tiny net one takes about 6 MB
KEPT_SIZES = 4  # that an image was encoded at last: partners of many sizes ask for as many

Key = tuple[str, int]
ImageSource = Tensor | np.ndarray | str | Path  # a file, or uint8 (3,H,W) or (H,W,3)


@dataclass(frozen=True, kw_only=True)
class View(TensorStruct):
    """One image of a pair, and what tells it from others: its file and when that was written, or a number."""

    image: UInt8[Tensor, "3 H W"]  # RGB
    key: Key

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, px."""
        return self.image.shape[-2], self.image.shape[-1]


@dataclass(frozen=True, kw_only=True)
class EncodedView(TensorStruct):
    """A view at one working size, encoded."""

    features: FeaturePyramid
    textured: Bool[Tensor, "h w"]  # the surroundings of each working pixel show more than one colour
    size: tuple[int, int]  # height and width of the view, px
    small: tuple[int, int]  # height and width that it was encoded at, px

    def inward(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Points in raster px of the view, in raster px of its working size."""
        return rescale(xy, self.size, self.small)

    def outward(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Points in raster px of its working size, in raster px of the view."""
        return rescale(xy, self.small, self.size)

    def has_texture(self, xy: Float[Tensor, "N 2"]) -> Bool[Tensor, " N"]:
        """Whether there is anything to see around each point (px of the working size)."""
        height, width = self.textured.shape
        column, row = xy.floor().long().unbind(-1)
        return self.textured[row.clamp(0, height - 1), column.clamp(0, width - 1)]


class ImageEncoder:
    """Reads and encodes images; the last ``kept_images``, and what was encoded of each, are kept."""

    def __init__(self, model: nn.Module, image_size: int | None, kept_images: int) -> None:
        check_tracker(model)
        self.model, self.kept_images = model, max(2, kept_images)  # a pair, at least
        self.image_size = image_size or model.image_size
        self._views: OrderedDict[Key, View] = OrderedDict()
        self._encoded: dict[Key, dict[tuple[int, int], EncodedView]] = {}
        self._num_arrays = 0

    def open(self, source: ImageSource) -> View:
        """An image by its file, or as an array. Raises ValueError or OSError, as ``read_image`` does."""
        if not isinstance(source, (str, Path)):
            self._num_arrays += 1
            image = rgb(as_tensor(source))
            return self._keep(View(image=image, key=("", self._num_arrays)))
        path = existing_file(source)
        key = (str(path.resolve()), path.stat().st_mtime_ns)
        return self._keep(self._views.get(key) or View(image=read_image(path), key=key))

    def own_size(self, view: View) -> tuple[int, int]:
        """The working size that an image has by itself: its own aspect, about ``image_size ** 2`` px."""
        return working_size(*view.size, self.image_size)

    def encode(self, view: View, small: tuple[int, int]) -> EncodedView:
        """A view at a working size."""
        kept = self._encoded.get(view.key, {})  # of one that was forgotten meanwhile, nothing
        found = kept.pop(small) if small in kept else self._encode(view, small)
        kept[small] = found  # the last one asked for comes last
        if len(kept) > KEPT_SIZES:
            del kept[next(iter(kept))]
        return found

    def _keep(self, view: View) -> View:
        """Keep this one, and forget the one that was not asked for longest."""
        self._views[view.key] = view
        self._views.move_to_end(view.key)
        self._encoded.setdefault(view.key, {})
        while len(self._views) > self.kept_images:
            oldest, _ = self._views.popitem(last=False)
            del self._encoded[oldest]
        return view

    def _encode(self, view: View, small: tuple[int, int]) -> EncodedView:
        device = next(self.model.parameters()).device
        frame = resize(view.image.to(device), small)
        with torch.inference_mode():
            features = self.model.encode(frame[None])
        return EncodedView(features=features, textured=textured(frame).cpu(), size=view.size, small=small)


def as_tensor(values: Tensor | np.ndarray | Sequence) -> Tensor:
    """Values as a tensor; arrays are copied, since they may be read-only, or lie mirrored in memory."""
    return torch.as_tensor(values.copy(order="C") if isinstance(values, np.ndarray) else values)


def textured(frame: UInt8[Tensor, "3 h w"]) -> Bool[Tensor, "h w"]:
    """Where the surroundings of a pixel differ by more than ``FLAT_LEVELS`` in some channel."""
    values = frame[None].float()
    span = _highest(values) + _highest(-values)  # the highest less the lowest
    return (span > FLAT_LEVELS).any(dim=1)[0]


def _highest(values: Float[Tensor, "1 C h w"]) -> Float[Tensor, "1 C h w"]:
    """The maximum over the square around each pixel: along rows, then along columns."""
    width = 2 * SURROUNDINGS_PX + 1
    rows = F.max_pool2d(values, (1, width), stride=1, padding=(0, SURROUNDINGS_PX))
    return F.max_pool2d(rows, (width, 1), stride=1, padding=(SURROUNDINGS_PX, 0))
