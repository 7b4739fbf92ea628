"""Least-squares matching: what the images themselves say of a match, to a fraction of a pixel.

A network finds a point to about a pixel of its working size. Here the patch around the point is laid over the
other image by the affine map, and the gain and offset of its grey values, that leave the least squares (Gruen
1985, "Adaptive least squares correlation"; Lucas & Kanade 1981 only shift), from about the working size up to
full resolution. Each match is treated by itself; one that does not come to lie better stays where it was.
"""

from dataclasses import dataclass
from math import log2

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from retracker.geometry.coords import patch_offsets, rescale, sample_image
from retracker.inference.frames import resize
from retracker.inference.slots import GROUP_SIZE
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
DETERMINANTS = (0.1, 6.0)  # of affine maps that are believed
LUMA = (0.299, 0.587, 0.114)  # Rec. 601

Size = tuple[int, int]


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
    first, second = (_slopes(resize(image, size)) for image, size in zip(images, sizes, strict=True))
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
        found = _fitted(first[:, :1], second, rescale(points[some], full[0], sizes[0]), small)
        affine = found.affine / shrink_b[:, None] * shrink_a
        parts.append(Laid(xy=rescale(found.xy, sizes[1], full[1]), affine=affine, better=found.better))
    return parts[0].map(lambda *values: torch.cat(values), *parts[1:])


def _fitted(
    first: Float[Tensor, "1 1 Ha Wa"],
    second: Float[Tensor, "1 3 Hb Wb"],
    points: Float[Tensor, "n 2"],
    start: Laid,
) -> Laid:
    """Up to ``GROUP_SIZE`` patches; always as many, because products of other sizes round differently."""
    count, spare = len(points), GROUP_SIZE - len(points)
    points = F.pad(points, (0, 0, 0, spare))
    xy, affine = F.pad(start.xy, (0, 0, 0, spare)), F.pad(start.affine, (0, 0, 0, 0, 0, spare))
    offsets = patch_offsets(RADIUS, points.device)
    weight = (-offsets.square().sum(-1) / (2 * SPREAD**2)).exp()
    weight = weight / weight.sum()
    patch = _centred(_read(first, points[:, None] + offsets)[..., 0], weight)  # n P
    before = _likeness(_read(second[:, :1], _places(xy, affine, offsets))[..., 0], patch, weight)
    there, turned = xy, affine
    for _ in range(ROUNDS):
        there, turned = _step(second, patch, weight, offsets, (there, turned))
    after = _likeness(_read(second[:, :1], _places(there, turned, offsets))[..., 0], patch, weight)
    determinant, (least, most) = torch.linalg.det(turned), DETERMINANTS
    better = (after > before) & (after > LEAST_ALIKE) & ((there - xy).norm(dim=-1) < FARTHEST)
    better &= (determinant > least) & (determinant < most)
    found = Laid(
        xy=torch.where(better[:, None], there, xy),
        affine=torch.where(better[:, None, None], turned, affine),
        better=better,
    ).map(lambda x: x[:count])
    return Laid(xy=found.xy, affine=found.affine, better=found.better | start.better)


def _step(
    second: Float[Tensor, "1 3 H W"],
    patch: Float[Tensor, "n P"],
    weight: Float[Tensor, " P"],
    offsets: Float[Tensor, "P 2"],
    lies: tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 2"]],
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2 2"]]:
    """One damped Gauss-Newton step of position and affine map, with the gain and offset that fit best."""
    xy, affine = lies
    grey, slope_x, slope_y = _read(second, _places(xy, affine, offsets)).unbind(-1)
    grey = _centred(grey, weight)
    x, y = offsets.unbind(-1)
    moves = [slope_x, slope_y, slope_x * x, slope_x * y, slope_y * x, slope_y * y]
    columns = torch.stack([*moves, -patch, -torch.ones_like(patch)], dim=-1)  # n P 8
    weighted = (columns * weight[:, None]).mT
    normal = weighted @ columns
    diagonal = normal.diagonal(dim1=-2, dim2=-1) * DAMPING + 1e-6
    change = torch.linalg.solve(normal + torch.diag_embed(diagonal), -(weighted @ grey[..., None]))[..., 0]
    xy = xy + change[:, :2].clamp(-LONGEST_STEP, LONGEST_STEP)
    return xy, affine + change[:, 2:6].clamp(-LARGEST_TURN, LARGEST_TURN).unflatten(-1, (2, 2))


def _places(
    xy: Float[Tensor, "n 2"], affine: Float[Tensor, "n 2 2"], offsets: Float[Tensor, "P 2"]
) -> Float[Tensor, "n P 2"]:
    return xy[:, None] + offsets @ affine.mT


def _read(image: Float[Tensor, "1 C H W"], xy: Float[Tensor, "n P 2"]) -> Float[Tensor, "n P C"]:
    return sample_image(image, xy.flatten(0, 1)[None])[0].unflatten(0, xy.shape[:2])


def _likeness(
    one: Float[Tensor, "n P"], other: Float[Tensor, "n P"], weight: Float[Tensor, " P"]
) -> Float[Tensor, " n"]:
    """Weighted correlation of grey values, in [-1, 1]."""
    one, other = _centred(one, weight), _centred(other, weight)
    energy = (one.square() * weight).sum(-1) * (other.square() * weight).sum(-1)
    return (one * other * weight).sum(-1) / (energy + 1e-6).sqrt()


def _centred(values: Float[Tensor, "n P"], weight: Float[Tensor, " P"]) -> Float[Tensor, "n P"]:
    """Without their weighted mean: then damping does not pull on it."""
    return values - (values * weight).sum(-1, keepdim=True)


def _slopes(image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "1 3 H W"]:
    """Grey values (0 to 255), a little blurred, and their slopes along x and y, per px."""
    luma = torch.tensor(LUMA, device=image.device)
    grey = (image.float() * luma[:, None, None]).sum(0)[None, None]
    reach = round(3 * BLUR)
    steps = torch.arange(-reach, reach + 1, device=image.device)
    kernel = (-steps.square() / (2 * BLUR**2)).exp()
    kernel = kernel / kernel.sum()
    grey = F.conv2d(F.pad(grey, (reach, reach, reach, reach), mode="replicate"), kernel[None, None, None])
    grey = F.conv2d(grey, kernel[None, None, :, None])
    wide = F.pad(grey, (1, 1, 1, 1), mode="replicate")
    slope_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    slope_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([grey, slope_x, slope_y], dim=1)
