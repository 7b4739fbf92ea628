"""The size at which a matcher is shown an image, and its answer brought back to the image as it is stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Matched, Matcher
from retracker.geometry.coords import rescale

FILTERS = MappingProxyType({"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA})
SIDES = ("stored", "long", "short", "exact")
ROUNDINGS = ("nearest", "down")


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A rule that says how large an image becomes."""

    side: str  # "stored": left as it is; "long" or "short": which side is given; "exact": both are
    px: int | Sequence[int] | None  # of that side; (width, height) where exact; None where stored
    rounding: str  # of the other side: to the "nearest" px, or "down" (glue-factory)
    multiple: int  # height and width are cut down to multiples of it, by squeezing the image
    filter: str  # "linear", as cv2.resize has it; "area": averaging where it shrinks

    def __post_init__(self) -> None:
        fits = {"stored": self.px is None, "exact": isinstance(self.px, Sequence) and len(self.px) == 2}
        fine = self.side in SIDES and fits.get(self.side, isinstance(self.px, int) and self.px > 0)
        known = self.rounding in ROUNDINGS and self.filter in FILTERS
        if not fine or self.multiple < 1 or not known:
            raise ValueError(
                f"resize: expected side {' or '.join(SIDES)} with its px (none for stored, width and height "
                f"for exact), rounding {' or '.join(ROUNDINGS)}, a multiple of at least 1 and filter "
                f"{' or '.join(FILTERS)}, got {self}"
            )

    def factors(self, height: int, width: int) -> tuple[float, float]:
        """By how much height and width grow, without rounding."""
        if self.side == "stored":
            return 1.0, 1.0
        if self.side == "exact":
            return self.px[1] / height, self.px[0] / width
        factor = self.px / (max if self.side == "long" else min)(height, width)
        return factor, factor

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The new height and width."""
        rounded = (self._rounded_down if self.rounding == "down" else self._rounded)(height, width)
        new_height, new_width = (max(side // self.multiple, 1) * self.multiple for side in rounded)
        return new_height, new_width

    def __call__(self, image: UInt8[Tensor, "3 H W"]) -> UInt8[Tensor, "3 H1 W1"]:
        """The image at its new size; the same one if that is its old."""
        height, width = image.shape[-2:]
        new_height, new_width = self.size(height, width)
        if (new_height, new_width) == (height, width):
            return image
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        resized = cv2.resize(pixels, (new_width, new_height), interpolation=FILTERS[self.filter])
        return torch.from_numpy(resized).permute(2, 0, 1).contiguous()

    def describe(self) -> str:
        """The rule in words, for the records."""
        by = f", multiples of {self.multiple}" if self.multiple > 1 else ""
        if self.side == "stored":
            return f"stored size{by}"
        px = f"{self.px[0]} x {self.px[1]}" if self.side == "exact" else f"{self.side} side {self.px}"
        down = ", the other rounded down" if self.rounding == "down" else ""
        return f"{px} px{down}{by}"

    def _rounded(self, height: int, width: int) -> tuple[int, int]:
        by_height, by_width = self.factors(height, width)
        return round(height * by_height), round(width * by_width)

    def _rounded_down(self, height: int, width: int) -> tuple[int, int]:
        """By glue-factory's own arithmetic, as another order of it is one pixel off here and there."""
        if self.side not in ("long", "short"):
            return self._rounded(height, width)
        ratio = width / height
        if (self.side == "short") != (ratio < 1):  # then the height is given
            return self.px, int(self.px * ratio)
        return int(self.px / ratio), self.px


def ask_resized(
    matcher: Matcher,
    image0: UInt8[Tensor, "3 H0 W0"],
    image1: UInt8[Tensor, "3 H1 W1"],
    resize: Resize,
    name: str,
) -> Matched:
    """What a matcher finds in two resized images, as float64 raster px of the images that were given.

    Raises ValueError, naming the pair, if the answer has the wrong shape or is not finite.
    """
    small0, small1 = resize(image0), resize(image1)
    answer = matcher(small0, small1).map(lambda x: x.detach().cpu())
    check_matches(answer, name)
    sizes = [tuple(image.shape[-2:]) for image in (small0, image0, small1, image1)]
    places = {"points0": sizes[:2], "points1": sizes[2:]}
    if answer.keypoints0 is not None:
        places |= {"keypoints0": sizes[:2], "keypoints1": sizes[2:]}
    stored = {part: rescale(getattr(answer, part).double(), *ends) for part, ends in places.items()}
    return replace(answer, **stored)


def check_matches(answer: Matched, name: str) -> None:
    """Raise ValueError unless the answer is as many points in both images as confidences, all finite, and
    keypoints, if there are any, are points of both images."""
    count = len(answer.points0)
    shapes = [tuple(part.shape) for part in (answer.points0, answer.points1, answer.confidence)]
    if shapes != [(count, 2), (count, 2), (count,)]:
        raise ValueError(f"{name}: expected points (M, 2) in both images and M confidences, got {shapes}")
    if not all(part.isfinite().all() for part in (answer.points0, answer.points1, answer.confidence)):
        raise ValueError(f"{name}: the matcher returned points or confidences that are not finite")
    keypoints = [answer.keypoints0, answer.keypoints1]
    if all(xy is None for xy in keypoints):
        return
    if any(xy is None or xy.shape[1:] != (2,) or not xy.isfinite().all() for xy in keypoints):
        raise ValueError(f"{name}: expected keypoints (K, 2) of both images, or of neither, all finite")
