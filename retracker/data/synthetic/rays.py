"""From pixels to points of a surface and back, both in closed form."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.data.synthetic.surfaces import NEAR, Posed, Surfaces
from retracker.types import TensorStruct

UNBOUNDED = 1e6  # margin of a surface without an outline, px
SOFTENING = 0.3  # keeps the lobes of an outline finite at its centre and far away


@dataclass(frozen=True, kw_only=True)
class Hit(TensorStruct):
    """Where the rays of a block of pixels meet one surface, or each of S."""

    depth: Float[Tensor, "*S B F P Q"]  # along the optical axis; infinite where they miss
    margin: Float[Tensor, "*S B F P Q"]  # px inside the outline; negative outside
    u: Float[Tensor, "*S B F P Q"]  # material coordinates, local units
    v: Float[Tensor, "*S B F P Q"]


def intersect(posed: Posed, surfaces: Surfaces, index: int, x: Tensor, y: Tensor) -> Hit:
    """Meet surface ``index`` along the rays through pixels (x, y), which broadcast to ``B F P Q``."""
    rays = [row.unbind(-1) for row in posed.rays[:, index, :, None, None].unbind(-2)]  # 3 x 3 of B F 1 1
    origin = posed.origin[:, index, :, None, None].unbind(-1)
    square = posed.square[:, index, :, None, None].unbind(-1)
    linear, constant = (value[:, index, :, None, None] for value in (posed.linear, posed.constant))
    direction = [_affine(row, x, y) for row in rays]
    weights = [2 * k * o for k, o in zip(square, origin, strict=True)]
    weights[2] = weights[2] + linear
    slopes = [sum(w * row[i] for w, row in zip(weights, rays, strict=True)) for i in range(3)]
    # a s^2 + b s + c = 0 along the ray, with s the depth; b is affine in the pixel.
    a = sum(k * d * d for k, d in zip(square, direction, strict=True))
    b = _affine(slopes, x, y)
    c = sum(k * o * o for k, o in zip(square, origin, strict=True)) + linear * origin[2] + constant
    root = b * b - 4 * a * c
    twice = -(b + torch.copysign(root.clamp(min=0).sqrt(), b))  # the stable form: 2 c / twice is the plane's
    ray = (origin, direction, root, a)
    first = _meet(posed, surfaces, index, 2 * c / twice, ray)
    if not (surfaces.bounded[:, index] & ~surfaces.round[:, index]).any() or not posed.square[:, index].any():
        return first
    # A bent sheet may be met twice; beyond an ellipsoid's and the wall's first meeting nothing is seen.
    second = _meet(posed, surfaces, index, twice / (2 * a), ray)
    single = (surfaces.round | ~surfaces.bounded)[:, index, None, None, None]
    nearer = (second.depth < first.depth) & ~single
    return first.map(lambda one, two: torch.where(nearer, two, one), second)


def _meet(posed: Posed, surfaces: Surfaces, index: int, depth: Tensor, ray: tuple) -> Hit:
    """What is at ``depth`` along each ray, if it belongs to the surface."""
    origin, direction, root, a = ray
    u, v = _material(posed, surfaces, index, [o + depth * d for o, d in zip(origin, direction, strict=True)])
    margin = _margin(posed, surfaces, index, (u, v, root, a))
    hit = (depth > NEAR) & (margin > -0.5) & surfaces.present[:, index, None, None, None]
    return Hit(
        depth=torch.where(hit, depth, torch.inf),
        margin=torch.where(hit, margin, -1),
        u=torch.where(hit, u, 0),
        v=torch.where(hit, v, 0),
    )


def project(
    posed: Posed, surfaces: Surfaces, index: int, u: Float[Tensor, "B F P"], v: Float[Tensor, "B F P"]
) -> tuple[Float[Tensor, "B F P 2"], Float[Tensor, "B F P"]]:
    """Where material points (u, v) of surface ``index`` are in the image (px), and how deep."""
    sheet = _sheet_point(posed, surfaces, index, u, v)
    local = torch.where(surfaces.round[:, index, None, None, None], _ball_point(u, v), sheet)
    axes, place = posed.axes[:, index, :, None], posed.place[:, index, :, None]
    x, y, depth = ((axes * local[..., None, :]).sum(-1) + place).unbind(-1)
    focal, centre = posed.focal[:, index, :, None], posed.centre[:, index, :, None]
    ahead = depth.clamp(min=NEAR)
    return torch.stack([x / ahead * focal, y / ahead * focal], dim=-1) + centre, depth


def _affine(row: list | tuple, x: Tensor, y: Tensor) -> Tensor:
    return row[0] * x + (row[1] * y + row[2])


def wave(turns: Tensor) -> Tensor:
    """A smooth wave of period and height 1 made of parabolas: the same bits everywhere, unlike a sine."""
    turns = turns - turns.floor() - 0.5
    return turns * (8 - 16 * turns.abs())


def _material(posed: Posed, surfaces: Surfaces, index: int, point: list) -> tuple[Tensor, Tensor]:
    """Material coordinates of a point of the surface; only branches that some clip needs are run."""
    ball = surfaces.round[:, index]
    if ball.all():
        return _octahedral(*point)
    u, v = _unripple(posed, surfaces, index, *point[:2])
    if not ball.any():
        return u, v
    ball = ball[:, None, None, None]
    return tuple(torch.where(ball, a, b) for a, b in zip(_octahedral(*point), (u, v), strict=True))


def _ripple_numbers(posed: Posed, surfaces: Surfaces, index: int) -> tuple:
    size, cycles = (
        surfaces.ripple[:, index, :, None, None, None],
        surfaces.ripple_waves[:, index, :, None, None, None],
    )
    return *size.unbind(1), *cycles.unbind(1), *posed.phase[:, index, :, None, None].unbind(-1)


def _unripple(posed: Posed, surfaces: Surfaces, index: int, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if not surfaces.ripple[:, index].any():
        return x, y
    size_u, size_v, cycles_u, cycles_v, phase_u, phase_v = _ripple_numbers(posed, surfaces, index)
    v = y - size_v * wave(cycles_v * x + phase_v)
    return x - size_u * wave(cycles_u * v + phase_u), v


def _sheet_point(posed: Posed, surfaces: Surfaces, index: int, u: Tensor, v: Tensor) -> Tensor:
    numbers = _ripple_numbers(posed, surfaces, index)
    size_u, size_v, cycles_u, cycles_v, phase_u, phase_v = (value[..., 0] for value in numbers)
    x = u + size_u * wave(cycles_u * v + phase_u)
    y = v + size_v * wave(cycles_v * x + phase_v)
    bend = posed.square[:, index, :, None]
    return torch.stack([x, y, bend[..., 0] * x * x + bend[..., 1] * y * y], dim=-1)


def _octahedral(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """The direction (x, y, z) as a point of the square [-1, 1]^2; the far side (z > 0) is folded out."""
    total = x.abs() + y.abs() + z.abs()
    u, v = x / total, y / total
    away = z > 0
    folded_u, folded_v = torch.copysign(1 - v.abs(), u), torch.copysign(1 - u.abs(), v)
    return torch.where(away, folded_u, u), torch.where(away, folded_v, v)


def _ball_point(u: Tensor, v: Tensor) -> Tensor:
    height = u.abs() + v.abs() - 1
    x = torch.where(height > 0, torch.copysign(1 - v.abs(), u), u)
    y = torch.where(height > 0, torch.copysign(1 - u.abs(), v), v)
    point = torch.stack([x, y, height], dim=-1)
    return point / (point * point).sum(-1, keepdim=True).sqrt()


def _margin(posed: Posed, surfaces: Surfaces, index: int, numbers: tuple) -> Tensor:
    """How many pixels inside the outline a ray passes, to first order."""
    u, v, discriminant, a = numbers
    sharpness = posed.sharpness[:, index, :, None, None]
    ball, bounded = surfaces.round[:, index], surfaces.bounded[:, index]
    if ball.all():  # 1 - r^2: 1 at the centre of the disc, 0 at its limb
        return discriminant / (4 * a) * sharpness
    wide = (None, None, None)
    outline = UNBOUNDED
    if bounded.any():
        outline = _outline(surfaces, index, u, v) * sharpness
        outline = torch.where(bounded[:, *wide], outline, UNBOUNDED)
    outline = torch.where(discriminant < 0, -1, outline)
    return torch.where(ball[:, *wide], discriminant / (4 * a) * sharpness, outline) if ball.any() else outline


def _outline(surfaces: Surfaces, index: int, u: Tensor, v: Tensor) -> Tensor:
    """Positive inside a star-shaped figure of radius about 1 (disc, clover, cross, ring), 0 on its edge."""
    three, four, hole = surfaces.outline[:, index, :, None, None, None].unbind(1)
    uu, vv = u * u, v * v
    square = uu + vv
    lobes = three * u * (uu - 3 * vv) + four * (square * square - 8 * uu * vv)
    return torch.minimum(1 - square - lobes / (square + SOFTENING), square - hole)
