"""Light on surfaces: shades that do not stick to them, and highlights that wander."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.data.synthetic.dice import Dice
from retracker.data.synthetic.surfaces import Posed
from retracker.types import TensorStruct

AMBIENT = (0.25, 0.7)  # what reaches a surface that is turned away from the lamp
GLOSS = (0.0, 0.5)  # of full white, in the middle of a highlight
GLOSSY = 0.4  # of the lit scenes have highlights


@dataclass(frozen=True, kw_only=True)
class Lamp(TensorStruct):
    """One far lamp that goes with the camera. Ambient 1 and gloss 0: the light changes nothing."""

    towards: Float[Tensor, "*A 3"]  # unit vector from the scene to the lamp, in the camera's axes
    ambient: Float[Tensor, "*A"]
    gloss: Float[Tensor, "*A"]

    @property
    def lit(self) -> Bool[Tensor, "*A"]:
        return (self.ambient < 1) | (self.gloss > 0)


def no_lamp() -> Lamp:
    """Every surface shows its own colours."""
    return Lamp(
        towards=torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64),
        ambient=torch.tensor(1.0, dtype=torch.float64),
        gloss=torch.tensor(0.0, dtype=torch.float64),
    )


def draw_lamp(dice: Dice) -> Lamp:
    """A lamp somewhere behind the camera, to one side."""
    aside = dice.uniforms(2, -1.2, 1.2).double()
    towards = torch.cat([aside, torch.tensor([-1.0], dtype=torch.float64)])
    gloss = dice.uniform(*GLOSS) if dice.chance(GLOSSY) else 0.0
    return Lamp(
        towards=towards / towards.square().sum().sqrt(),
        ambient=torch.tensor(dice.uniform(*AMBIENT), dtype=torch.float64),
        gloss=torch.tensor(gloss, dtype=torch.float64),
    )


def light_of(
    lamp: Lamp, posed: Posed, depth: Float[Tensor, "S B F P Q"], x: Tensor, y: Tensor
) -> tuple[Float[Tensor, "S B F P Q"], Float[Tensor, "S B F P Q"]]:
    """By what each surface's colour is to be multiplied at its ``depth`` behind pixels (x, y), and what is
    to be added, in [0, 1]: Lambert's diffuse light, and Blinn's highlight."""
    pairs = [_of_surface(lamp, posed, index, depth[index], x, y) for index in range(len(depth))]
    shades, highlights = zip(*pairs, strict=True)
    return torch.stack(shades), torch.stack(highlights)


def _of_surface(
    lamp: Lamp, posed: Posed, index: int, depth: Float[Tensor, "B F P Q"], x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    wide = (None, None)
    centre, focal = posed.centre[:, index, :, *wide], posed.focal[:, index, :, *wide]
    view = _unit([(x - centre[..., 0]) / focal, (y - centre[..., 1]) / focal, torch.ones_like(depth)])
    normal = _normal(posed, index, torch.where(depth.isfinite(), depth, 0), x, y)
    away = sum(n * v for n, v in zip(normal, view, strict=True)) > 0
    normal = [torch.where(away, -n, n) for n in normal]
    towards = lamp.towards[:, None, *wide].unbind(-1)  # B 1 1 1, thrice
    ambient, gloss = lamp.ambient[:, None, *wide], lamp.gloss[:, None, *wide]
    diffuse = sum(n * d for n, d in zip(normal, towards, strict=True)).clamp(min=0)
    halfway = _unit([d - v for d, v in zip(towards, view, strict=True)])
    shine = sum(n * h for n, h in zip(normal, halfway, strict=True)).clamp(min=0)
    for _ in range(5):  # to the 32nd power, by products alone: the same bits everywhere
        shine = shine * shine
    return ambient + (1 - ambient) * diffuse, gloss * shine


def _normal(posed: Posed, index: int, depth: Tensor, x: Tensor, y: Tensor) -> list[Tensor]:
    """The unit normal in the camera's axes: the gradient of the quadric, brought over from its own frame."""
    wide = (None, None)
    rays = posed.rays[:, index, :, *wide]  # B F 1 1 3 3
    origin, square = posed.origin[:, index, :, *wide], posed.square[:, index, :, *wide]
    gradient = []
    for axis in range(3):
        along = rays[..., axis, 0] * x + rays[..., axis, 1] * y + rays[..., axis, 2]
        gradient.append(2 * square[..., axis] * (origin[..., axis] + depth * along))
    gradient[2] = gradient[2] + posed.linear[:, index, :, *wide]
    axes = posed.axes[:, index]  # B F 3 3, local -> camera, scaled
    back = (axes / axes.square().sum(-2, keepdim=True))[:, :, *wide]
    return _unit([sum(back[..., row, axis] * gradient[axis] for axis in range(3)) for row in range(3)])


def _unit(vector: list[Tensor]) -> list[Tensor]:
    length = sum(part * part for part in vector).clamp(min=1e-12).sqrt()
    return [part / length for part in vector]
