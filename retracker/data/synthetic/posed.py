"""Two views of a room that stands still: pictures, depth and cameras, from nothing but a seed.

A wall, often a floor, and several things in front of them, looked at from two places around it. Views of
"easy" pairs lie close together, those of "hard" pairs far apart, with other lenses and in other light.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from math import asin, atan2, cos, radians, sin

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.data.synthetic.casting import CAMERA_REACH, SWINGS, Part, assemble, background, thing
from retracker.data.synthetic.dice import Dice
from retracker.data.synthetic.lighting import no_lamp
from retracker.data.synthetic.motion import Waves, rotation
from retracker.data.synthetic.raster import draw
from retracker.data.synthetic.scene import ATLAS_TILES, Film, Material, Scene, depth_between, follow, front
from retracker.data.synthetic.seeds import RESERVED
from retracker.data.synthetic.settings import Difficulty
from retracker.data.synthetic.surfaces import Camera, pose
from retracker.data.synthetic.textures import HELD_OUT as HELD_OUT
from retracker.data.synthetic.textures import TEXTURES, draw_texture
from retracker.types import TensorStruct

TILE = 1.5  # side of a texture, in frame widths
SHARPNESS = 0.7  # texels per pixel at the usual distance: fewer than 1, or what is seen from afar aliases
ATTEMPTS = 60  # scenes drawn until both views show enough of the same
PROBES = 16  # points a side of the grid by which that is judged
FIRST_SEED = 20_000_000  # of validation, below RESERVED; one million per group
STILL = Difficulty(
    speed=0.0, objects=(4, 7), occluders=(0, 0), occlusion=(0, 0), excursion=0.0, nonrigid=0.0,
    shutter=0.0, blurred=0.0, exposure=0.0, jumps=False, noise=0.0, weak=0.0,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far apart the two views of a pair are."""

    turn: tuple[float | int, float | int]  # degrees between the lines of sight
    roll: float | int  # degrees that each view is turned about its own axis, at most
    zoom: float | int  # by this factor focal lengths and distances may differ from the usual
    exposure: float  # brightness of each view and channel changes by up to this share
    noise: float  # standard deviation of the sensor's noise, grey levels
    weak: float  # probability that a surface has hardly any texture
    overlap: float  # of each view at least this share is to be seen in the other


GROUPS = {
    "easy": Apart(turn=(5, 12), roll=5, zoom=1.1, exposure=0.1, noise=2.0, weak=0.0, overlap=0.5),
    "medium": Apart(turn=(12, 25), roll=10, zoom=1.25, exposure=0.2, noise=4.0, weak=0.1, overlap=0.3),
    "hard": Apart(turn=(25, 45), roll=15, zoom=1.5, exposure=0.4, noise=6.0, weak=0.2, overlap=0.2),
}


@dataclass(frozen=True, kw_only=True)
class PosedView(TensorStruct):
    """One view as it was rendered."""

    image: UInt8[Tensor, "3 H W"]
    depth: Float[Tensor, "H W"]  # along the optical axis, world units; 0 where nothing solid is
    intrinsics: Float[Tensor, "3 3"]  # to raster px, float64
    pose: Float[Tensor, "4 4"]  # world -> camera, float64


def posed_view(seed: int, difficulty: str, size: int, side: int) -> PosedView:
    """View 0 or 1 of the pair that ``seed`` stands for, size x size px; ``train`` mixes the difficulties.

    Raises ValueError for a difficulty that there is not.
    """
    scene = _of_side(posed_scene(seed, difficulty, size), side)
    depth = depth_between(scene, 0, 1)[0, 0]
    yaw_pitch_roll, place, zoom = scene.camera.motion.at(scene.time)[0, 0].split([3, 3, 1])
    turn = rotation(yaw_pitch_roll).mT  # world -> camera
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = turn, -turn @ place
    intrinsics = torch.eye(3, dtype=torch.float64)
    intrinsics[[0, 1], [0, 1]] = scene.camera.focal[0] * zoom.exp()
    intrinsics[:2, 2] = scene.camera.centre[0]
    return PosedView(
        image=draw(scene)[0, 0],
        depth=torch.where(depth.isfinite(), depth, 0.0).float(),
        intrinsics=intrinsics,
        pose=matrix,
    )


def validation_seed(group: str, index: int) -> int:
    """The fixed seed of a pair of validation, which no training ever sees."""
    seed = FIRST_SEED + 1_000_000 * list(GROUPS).index(group) + index
    assert seed < RESERVED
    return seed


@lru_cache(maxsize=4)
def posed_scene(seed: int, difficulty: str, size: int) -> Scene:
    """The scene of a pair, filmed at time 0 from view 0 and at time 1 from view 1; axis B is 1."""
    if difficulty not in (*GROUPS, "train"):
        raise ValueError(f"posed pairs are {', '.join(GROUPS)} or train, not {difficulty!r}")
    best, shared = None, -1.0
    for attempt in range(ATTEMPTS):
        dice = Dice(seed, attempt)
        apart = GROUPS[dice.pick(list(GROUPS)) if difficulty == "train" else difficulty]
        geometry = _geometry(apart, size, dice)
        overlap = min(_overlap(geometry, 0), _overlap(geometry, 1))
        if overlap > shared:
            best, shared = (geometry, apart, dice), overlap
        if overlap >= apart.overlap:
            break
    geometry, apart, dice = best
    return _painted(geometry, apart, dice)


def _geometry(apart: Apart, size: int, dice: Dice) -> Scene:
    """A scene without colours."""
    focal = dice.uniform(0.9, 1.2)  # in widths
    parts = background(focal * SHARPNESS, size, STILL, dice)
    parts += [_still(thing(focal * SHARPNESS, size, STILL, dice), dice) for _ in range(dice.integer(4, 7))]
    return Scene(
        camera=_camera(focal * size, apart, size, dice),
        surfaces=assemble(parts, dice),
        lamp=no_lamp(),
        film=_film(apart, dice),
        atlas=torch.zeros(3, ATLAS_TILES, 1, dtype=torch.uint8),
        time=torch.tensor([0.0, 1.0], dtype=torch.float64),
        height=size,
        width=size,
    ).map(lambda value: value[None])


def _still(part: Part, dice: Dice) -> Part:
    """A thing at rest, turned any way and not as close to the cameras as it may come in a clip."""
    base = list(part.base)
    base[0], base[1] = 1.3 * base[0], 1.3 * base[1]
    base[2] += dice.uniform(0.5, 2.5)
    base[3:6] = [dice.uniform(-0.6, 0.6), dice.uniform(-0.6, 0.6), base[5]]
    return replace(part, base=base, swings={}, drift={})


def _camera(focal: float, apart: Apart, size: int, dice: Dice) -> Camera:
    """Two places on a sphere around what is looked at, and between them a straight line in no time."""
    target = torch.tensor(
        [dice.uniform(-0.4, 0.4), dice.uniform(-0.3, 0.3), dice.uniform(6.5, 7.5)], dtype=torch.float64
    )
    turn, heading = radians(dice.uniform(*apart.turn)), dice.uniform(-0.35, 0.35)
    way = dice.sign()
    middle = dice.uniform(-0.15, 0.15)
    numbers = []
    for side in (-0.5, 0.5):
        yaw, pitch = middle + way * side * turn * cos(heading), 0.5 * side * turn * sin(heading)
        distance = 6.5 * apart.zoom ** dice.uniform(-1, 0.3)
        ahead = torch.tensor([sin(yaw) * cos(pitch), sin(pitch), cos(yaw) * cos(pitch)], dtype=torch.float64)
        place = target - distance * ahead
        aim = target + torch.tensor([dice.uniform(-0.5, 0.5) for _ in range(3)], dtype=torch.float64)
        angles = _looking(aim - place, radians(dice.uniform(-apart.roll, apart.roll)))
        zoom = torch.tensor([dice.uniform(-0.5, 0.5)], dtype=torch.float64)
        numbers.append(torch.cat([angles, place, zoom * torch.tensor(apart.zoom, dtype=torch.float64).log()]))
    nothing = torch.zeros(len(CAMERA_REACH), SWINGS, dtype=torch.float64)
    return Camera(
        motion=Waves(
            base=numbers[0],
            drift=numbers[1] - numbers[0],
            amplitude=nothing,
            frequency=nothing,
            phase=nothing,
        ),
        focal=torch.tensor(focal, dtype=torch.float64),
        centre=torch.full((2,), size / 2, dtype=torch.float64),
    )


def _looking(ahead: Float[Tensor, "3"], roll: float) -> Float[Tensor, "3"]:
    """Yaw, pitch and roll (as ``rotation`` has them) of a camera that looks ``ahead`` and is then rolled."""
    ahead = ahead / ahead.norm()
    right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=ahead.dtype), ahead)
    right = right / right.norm()
    upright = torch.stack([right, torch.linalg.cross(ahead, right), ahead], dim=1)  # camera -> world
    (a, b, c), (d, e, f), (g, h, i) = (
        upright @ rotation(torch.tensor([0.0, 0.0, roll], dtype=ahead.dtype))
    ).tolist()
    del a, c, d, f
    return torch.tensor([atan2(-g, i), asin(h), atan2(-b, e)], dtype=ahead.dtype)


def _film(apart: Apart, dice: Dice) -> Film:
    gain = 1 + dice.uniform(-apart.exposure, apart.exposure) * torch.tensor([[0.5], [-0.5]])
    return Film(
        gain=gain + dice.uniforms(6, -0.2, 0.2).view(2, 3) * apart.exposure,
        shutter=torch.tensor(0.0, dtype=torch.float64),
        noise=torch.tensor(dice.uniform(0.0, apart.noise), dtype=torch.float64),
        noise_seed=torch.tensor(dice.integer(0, 2**62)),
        grey=torch.zeros((), dtype=torch.bool),
    )


def _painted(scene: Scene, apart: Apart, dice: Dice) -> Scene:
    tile = round(TILE * scene.width)
    count = scene.surfaces.present.shape[1]
    atlas = torch.zeros(1, 3, ATLAS_TILES * tile, tile, dtype=torch.uint8)
    for index in range(count):
        atlas[0, :, index * tile : (index + 1) * tile] = draw_texture(tile, apart.weak, dice, TEXTURES)
    return replace(scene, atlas=atlas)


def _of_side(scene: Scene, side: int) -> Scene:
    """The scene as one view sees it, with a sensor of its own."""
    film = scene.film
    own = replace(film, gain=film.gain[:, side : side + 1], noise_seed=film.noise_seed // 2 + side)
    return replace(scene, time=scene.time[:, side : side + 1], film=own)


def _overlap(scene: Scene, side: int) -> float:
    """The share of one view that the other shows, too."""
    steps = (torch.arange(PROBES, dtype=torch.float64) + 0.5) / PROBES
    posed = pose(scene.surfaces, scene.camera, scene.time[:, side : side + 1])
    found = front(posed, scene.surfaces, steps * scene.width, steps[:, None] * scene.height)
    depth, index, u, v = (value[:, 0].flatten(1) for value in found)
    _, seen, _ = follow(scene, Material(surface=index, u=u, v=v), scene.time[:, 1 - side, None])
    return float((seen[:, 0] & depth.isfinite()).double().mean())
