"""Least-squares matching: what the images themselves say of a match, to a fraction of a pixel.

A network finds a point to about a pixel of its working size. Here the patch around the point is laid over the
other image by the affine map, and the gain and offset of its grey values, that leave the least squares (Gruen
1985, "Adaptive least squares correlation"; Lucas & Kanade 1981 only shift), from about the working size up to
full resolution. Each match is treated by itself; one that does not come to lie better stays where it was.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from math import exp, log2
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from retracker.geometry.coords import patch_offsets, rescale, sample_laid
from retracker.inference.frames import GROUP_SIZE, resize
from retracker.types import TensorStruct

RADIUS = 11  # px: patches are 23 x 23
SPREAD = 6.5  # px, deviation of the Gaussian by which a patch's pixels count
BLUR = 0.6  # px, deviation: differences of neighbouring pixels become slopes
ROUNDS = 8  # Gauss-Newton steps at each size
DAMPING = 1e-3  # of the normal equations' diagonal (Levenberg 1944)
LONGEST_STEP = 1.0  # px
LARGEST_TURN = 0.3  # change of the affine map's entries in one step
FARTHEST = 3.5  # px of one size: what moves farther has found something else
LEAST_ALIKE = 0.6  # correlation of the patches in the end
LEAST_GAIN = 0.05  # of the grey values: below that nothing is told of the slopes
DETERMINANTS = (0.1, 6.0)  # of affine maps that are believed
LUMA = (0.299, 0.587, 0.114)  # Rec. 601

Size = tuple[int, int]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Laid(TensorStruct):
    """How patches of one image lie in another."""

    xy: Float[Tensor, "N 2"]  # px of the other image: where their centres are
    affine: Float[Tensor, "N 2 2"]  # from steps (x, y) px in the one to steps in the other
    better: Bool[Tensor, " N"]  # at some size they came to lie better than before


def sharpen(
    images: tuple[UInt8[Tensor, "3 Ha Wa"], UInt8[Tensor, "3 Hb Wb"]],
    ends: tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2"]],
    working: tuple[Size, Size],
) -> Laid:
    """Move the second ends of matches (px) to where the surroundings of the first ones lie.

    ``working``: the (height, width) of both images at which the ends were found, and at which things appear
    about equally large in both.
    """
    full = tuple((image.shape[-2], image.shape[-1]) for image in images)
    zoom_a, zoom_b = (_zoom(small, size) for small, size in zip(working, full, strict=True))
    laid = Laid(
        xy=ends[1].float(),
        affine=torch.diag(zoom_b / zoom_a).expand(len(ends[1]), 2, 2),
        better=torch.zeros(len(ends[1]), dtype=torch.bool),
    )
    if not len(laid.xy):
        return laid
    with torch.inference_mode():
        for sizes in _stages(working, full):
            laid = _at_sizes(images, ends[0].float(), laid, sizes)
    return laid.map(torch.clone)  # ordinary tensors, which users may write into


def _stages(working: tuple[Size, Size], full: tuple[Size, Size]) -> list[tuple[Size, ...]]:
    """Sizes of both images from about one doubling above the working sizes to the full ones."""
    zooms = [_zoom(small, size) for small, size in zip(working, full, strict=True)]
    steps = max(1, round(log2(max(zoom.max().item() for zoom in zooms))))

    def between(size: Size, zoom: Tensor, share: float) -> Size:
        width, height = (zoom ** (share - 1)).tolist()
        return max(1, round(size[0] * height)), max(1, round(size[1] * width))

    return [
        tuple(between(size, zoom, step / steps) for size, zoom in zip(full, zooms, strict=True))
        for step in range(1, steps + 1)
    ]


def _zoom(size: Size, other: Size) -> Float[Tensor, "2"]:
    """By how much (x, y) grow from one (height, width) to another."""
    return torch.tensor([other[1] / size[1], other[0] / size[0]])


def _at_sizes(
    images: tuple[Tensor, Tensor], points: Float[Tensor, "N 2"], laid: Laid, sizes: tuple[Size, ...]
) -> Laid:
    """Both images resized, all positions with them; the answer in px of the full ones again."""
    first, second = (grey(resize(image, size)) for image, size in zip(images, sizes, strict=True))
    full = tuple((image.shape[-2], image.shape[-1]) for image in images)
    shrink_a, shrink_b = (_zoom(size, small) for size, small in zip(full, sizes, strict=True))
    parts = []
    for some in torch.arange(len(points)).split(GROUP_SIZE):
        part = laid.map(lambda x, some=some: x[some])
        small = Laid(
            xy=rescale(part.xy, full[1], sizes[1]),
            affine=shrink_b[:, None] * part.affine / shrink_a,
            better=part.better,
        )
        found = _fitted(first, second, rescale(points[some], full[0], sizes[0]), small)
        affine = found.affine / shrink_b[:, None] * shrink_a
        parts.append(
            Laid(xy=rescale(found.xy, sizes[1], full[1]), affine=affine, better=part.better | found.better)
        )
    return parts[0].map(lambda *values: torch.cat(values), *parts[1:])


def in_full_precision(work: Callable[..., T]) -> Callable[..., T]:
    """Without autocast, whatever the network runs in: half of the digits are less than a tenth of a pixel."""

    @wraps(work)
    def exact(*args: object) -> T:
        device = next(value.device for value in args if isinstance(value, Tensor))
        with torch.autocast(device.type, enabled=False):
            return work(*args)

    return exact


@dataclass(frozen=True, kw_only=True)
class Patches(TensorStruct):
    """Surroundings of points in one image, and how to read off what moves them over another.

    The slopes are those of the patches (inverse compositional: Baker & Matthews 2004), so that all that can
    be worked out before the other image is seen, is.
    """

    values: Float[Tensor, "N P"]  # grey, without their weighted mean
    # From grey values to a shift, an affine change (both times the gain), and the gain.
    solver: Float[Tensor, "N 7 P"]


@in_full_precision
def cut_patches(image: Float[Tensor, "1 1 H W"], points: Float[Tensor, "N 2"]) -> Patches:
    """The patches around points (px) of an image's ``grey`` values."""
    offsets, weight = _window(points.device)
    upright = torch.eye(2, device=points.device).expand(len(points), 2, 2)
    values, slope_x, slope_y = sample_laid(with_slopes(image), points, upright, offsets)
    values = _centred(values, weight)
    x, y = offsets.unbind(-1)
    moves = [slope_x, slope_y, slope_x * x, slope_x * y, slope_y * x, slope_y * y]
    columns = torch.stack([_centred(column, weight) for column in moves] + [values], dim=-2)  # N 7 P
    normal = (columns * weight) @ columns.mT
    diagonal = normal.diagonal(dim1=-2, dim2=-1) * DAMPING + 1e-6
    return Patches(
        values=values, solver=torch.linalg.solve(normal + torch.diag_embed(diagonal), columns * weight)
    )


@in_full_precision
def lay(patches: Patches, image: Float[Tensor, "1 1 H W"], start: Laid, rounds: int = ROUNDS) -> Laid:
    """Move patches over ``grey`` values, each from where it is said to lie, if it lies better then."""
    offsets, weight = _window(start.xy.device)
    xy, affine = start.xy, start.affine
    [now] = sample_laid(image, xy, affine, offsets)
    before = _likeness(_centred(now, weight), patches.values, weight)
    for _ in range(rounds):
        change = (patches.solver @ now[..., None])[..., 0]
        change = change[:, :6] / change[:, 6:].clamp(min=LEAST_GAIN)
        turn = change[:, 2:].clamp(-LARGEST_TURN, LARGEST_TURN).unflatten(-1, (2, 2))
        shift = change[:, :2].clamp(-LONGEST_STEP, LONGEST_STEP)
        # The patch would have to move by (turn, shift) to look as the image does: so the image moves back.
        affine = affine @ _inverse(torch.eye(2, device=turn.device) + turn)
        xy = xy - (affine @ shift[..., None])[..., 0]
        [now] = sample_laid(image, xy, affine, offsets)
    after = _likeness(_centred(now, weight), patches.values, weight)
    determinant, (least, most) = _determinant(affine), DETERMINANTS
    better = (after > before) & (after > LEAST_ALIKE) & ((xy - start.xy).norm(dim=-1) < FARTHEST)
    better &= (determinant > least) & (determinant < most)
    return Laid(
        xy=torch.where(better[:, None], xy, start.xy),
        affine=torch.where(better[:, None, None], affine, start.affine),
        better=better,
    )


def _fitted(
    first: Float[Tensor, "1 1 Ha Wa"],
    second: Float[Tensor, "1 1 Hb Wb"],
    points: Float[Tensor, "n 2"],
    start: Laid,
) -> Laid:
    """Up to ``GROUP_SIZE`` patches; always as many, because products of other sizes round differently."""
    count, spare = len(points), GROUP_SIZE - len(points)
    full = start.map(lambda x: F.pad(x, (0, 0) * (x.ndim - 1) + (0, spare)))
    found = lay(cut_patches(first, F.pad(points, (0, 0, 0, spare))), second, full)
    return found.map(lambda x: x[:count])


def _determinant(matrix: Float[Tensor, "n 2 2"]) -> Float[Tensor, " n"]:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def _inverse(matrix: Float[Tensor, "n 2 2"]) -> Float[Tensor, "n 2 2"]:
    """Of matrices near the identity."""
    adjugate = torch.stack([matrix[:, 1, 1], -matrix[:, 0, 1], -matrix[:, 1, 0], matrix[:, 0, 0]], dim=-1)
    return adjugate.unflatten(-1, (2, 2)) / _determinant(matrix)[:, None, None]


def _window(device: torch.device) -> tuple[Float[Tensor, "P 2"], Float[Tensor, " P"]]:
    """Where a patch's pixels are, as steps (x, y) px from its centre, and their weights, which sum to 1."""
    offsets = patch_offsets(RADIUS, device)
    weight = (-offsets.square().sum(-1) / (2 * SPREAD**2)).exp()
    return offsets, weight / weight.sum()


def _likeness(
    one: Float[Tensor, "n P"], other: Float[Tensor, "n P"], weight: Float[Tensor, " P"]
) -> Float[Tensor, " n"]:
    """Weighted correlation of centred grey values, in [-1, 1]."""
    energy = (one.square() * weight).sum(-1) * (other.square() * weight).sum(-1)
    return (one * other * weight).sum(-1) / (energy + 1e-6).sqrt()


def _centred(values: Float[Tensor, "n P"], weight: Float[Tensor, " P"]) -> Float[Tensor, "n P"]:
    """Without their weighted mean: then damping does not pull on it."""
    return values - (values * weight).sum(-1, keepdim=True)


@in_full_precision
def grey(image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "1 1 H W"]:
    """Grey values (0 to 255), a little blurred."""
    reach = round(3 * BLUR)
    red, green, blue = image.float()
    luma = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
    wide = F.pad(luma[None, None], (reach, reach, reach, reach), mode="replicate")
    weights = [exp(-(step**2) / (2 * BLUR**2)) for step in range(-reach, reach + 1)]
    # Sums of shifted images: with a single channel, a convolution takes several times as long.
    for dim, length in ((-1, image.shape[-1]), (-2, image.shape[-2])):
        wide = sum(weight / sum(weights) * wide.narrow(dim, i, length) for i, weight in enumerate(weights))
    return wide


@in_full_precision
def with_slopes(grey: Float[Tensor, "1 1 H W"]) -> Float[Tensor, "1 3 H W"]:
    """Grey values and their slopes along x and y, per px."""
    wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    slope_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    slope_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([grey, slope_x, slope_y], dim=1)
