"""Textures: procedural ones, and pieces of the photographs that scikit-image ships."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import skimage
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.data.synthetic.dice import Dice
from retracker.media.image import read_image

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
# Those that matchers are measured on.
HELD_OUT = ("astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg")
TEXTURES = tuple(name for name in PHOTOGRAPHS if name not in HELD_OUT)
LARGEST_PHOTOGRAPH = 640  # px; larger ones are shrunk once, so that cutting stays quick
PHOTO_SHARE = 0.55  # of the textures


def draw_texture(
    size: int,
    weak: float,
    dice: Dice,
    photographs: Sequence[str] = PHOTOGRAPHS,
    photo_share: float | int = PHOTO_SHARE,
) -> UInt8[Tensor, "3 K K"]:
    """A square texture: nearly blank with probability ``weak``, else often a piece of a photograph."""
    if dice.chance(weak):
        picture = _weak(size, dice)
    elif dice.chance(photo_share):
        picture = _photograph(size, photographs, dice)
    else:
        picture = dice.pick((_clouds, _stripes, _blobs, _checks, _confetti))(size, dice)
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


@cache
def photograph(name: str) -> Float[Tensor, "3 H W"]:
    """One of scikit-image's own photographs, in [0, 1]; nothing is ever downloaded."""
    image = read_image(Path(skimage.__file__).parent / "data" / name).float() / 255
    shrink = LARGEST_PHOTOGRAPH / max(image.shape[1:])
    if shrink < 1:
        image = F.interpolate(image[None], scale_factor=shrink, mode="bilinear", antialias=True)[0]
    return image


def _photograph(size: int, photographs: Sequence[str], dice: Dice) -> Float[Tensor, "3 K K"]:
    image = photograph(dice.pick(photographs))
    side = int(min(image.shape[1:]) * dice.uniform(0.5, 1.0))
    top, left = (dice.integer(0, length - side) for length in image.shape[1:])
    piece = image[:, top : top + side, left : left + side]
    piece = F.interpolate(piece[None], size=(size, size), mode="bilinear", antialias=side > size)[0]
    if dice.chance(0.5):
        piece = piece.flip(-1)
    tint = dice.uniforms(3, 0.75, 1.1)[:, None, None]
    return _grain(piece ** dice.uniform(0.7, 1.3) * tint, dice, 0.04)


def _noise(size: int, finest: float, roughness: float, dice: Dice) -> Float[Tensor, "K K"]:
    """Fractal noise of unit variance: octaves from the whole tile down to cells of ``finest`` px."""
    total = torch.zeros(1, 1, size, size)
    cells, height = 3, 1.0
    while size / cells >= finest:
        octave = dice.normals(1, 1, cells, cells)
        mode = "bicubic" if cells < 32 else "bilinear"
        total = total + height * F.interpolate(octave, size=(size, size), mode=mode, align_corners=False)
        cells, height = cells * 2, height * roughness
    total = total[0, 0] - total.mean()
    return total / total.std().clamp(min=1e-6)


def _palette(values: Float[Tensor, "K K"], dice: Dice) -> Float[Tensor, "3 K K"]:
    """Colour values in [0, 1] along a path through a few random colours."""
    count = dice.integer(2, 5)
    colours = dice.uniforms(3 * count, 0.02, 0.98).view(3, count)
    # Most things are not neon: draw colours towards their grey, keeping their brightness.
    colours = colours.mean(0) + (colours - colours.mean(0)) * dice.uniform(0.2, 1.0)
    if (colours.amax(1) - colours.amin(1)).max() < 0.45:
        colours[:, 0], colours[:, 1] = 0.1, 0.9
    place = values.clamp(0, 1) * (count - 1)
    low = place.floor().clamp(max=count - 2)
    part = place - low
    low = low.long()
    return colours[:, low] * (1 - part) + colours[:, low + 1] * part


def _grain(picture: Float[Tensor, "3 K K"], dice: Dice, strength: float) -> Float[Tensor, "3 K K"]:
    return picture + strength * _noise(picture.shape[-1], 2.5, 1.1, dice)


def _clouds(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    noise = _noise(size, dice.uniform(2.0, 5.0), dice.uniform(0.55, 0.95), dice)
    return _palette(0.5 + 0.28 * noise, dice)


def _axes(size: int, dice: Dice, bend: float) -> tuple[Tensor, Tensor]:
    """Coordinates over the tile, turned and gently bent, in tiles."""
    angle = dice.uniforms(1, 0.0, 6.2832)
    steps = torch.linspace(-0.5, 0.5, size)
    x, y = steps[None, :], steps[:, None]
    u, v = angle.cos() * x + angle.sin() * y, angle.cos() * y - angle.sin() * x
    if bend > 0:
        u = u + bend * _noise(size, size / 8, 0.4, dice)
        v = v + bend * _noise(size, size / 8, 0.4, dice)
    return u, v


def _step(values: Tensor, softness: float) -> Tensor:
    return (values / softness).clamp(-1, 1) * 0.5 + 0.5


def _two_colours(mask: Tensor, dice: Dice) -> Float[Tensor, "3 K K"]:
    """Two different materials, one where ``mask`` is 1."""
    return _clouds(mask.shape[-1], dice) * (1 - mask) + _grain(_paint(mask, dice), dice, 0.08) * mask


def _paint(mask: Tensor, dice: Dice) -> Float[Tensor, "3 K K"]:
    return dice.uniforms(3, 0.05, 0.95)[:, None, None].expand(3, *mask.shape)


def _stripes(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    u, _ = _axes(size, dice, dice.uniform(0.0, 0.03))
    bands = (u * 6.2832 * dice.uniform(5.0, 14.0)).sin() + dice.uniform(-0.5, 0.5)
    return _two_colours(_step(bands, 0.4), dice)


def _blobs(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    noise = _noise(size, size / dice.uniform(12.0, 40.0), 0.8, dice)
    return _two_colours(_step(noise - dice.uniform(-0.3, 0.8), 0.15), dice)


def _checks(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    u, v = _axes(size, dice, dice.uniform(0.0, 0.015))
    count = dice.uniform(4.0, 10.0)
    board = (u * 3.1416 * count).sin() * (v * 3.1416 * count).sin()
    # Cells differ in brightness, or every crossing would look like every other.
    return _two_colours(_step(board, 0.12), dice) * (0.85 + 0.15 * _noise(size, size / 12, 0.9, dice))


def _confetti(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    """Patches of flat colour with edges in all directions."""
    picture = _clouds(size, dice)
    for _ in range(3):
        u, v = _axes(size, dice, 0.04)
        cells = dice.uniform(5.0, 12.0)
        spot = 0.3 - ((u * cells) % 1 - 0.5).square() - ((v * cells) % 1 - 0.5).square()
        kept = _step(_noise(size, size / 16, 0.9, dice), 0.1) * _step(spot - dice.uniform(0.12, 0.24), 0.02)
        picture = picture * (1 - kept) + _paint(kept, dice) * kept
    return _grain(picture, dice, 0.03)


def _weak(size: int, dice: Dice) -> Float[Tensor, "3 K K"]:
    """Smooth and nearly flat, like a wall or the sky."""
    base = dice.uniforms(3, 0.2, 0.8)[:, None, None]
    slow = _noise(size, size / 10, 0.4, dice) * dice.uniforms(3, 0.01, 0.05)[:, None, None]
    return _grain(base + slow, dice, 0.008)
