"""Choosing what is in a scene: the background, the movers, the camera's path, the film.

Lengths are in world units; the camera stands near the origin and looks along +z at a wall about 10 away.
"""

from dataclasses import dataclass, field
from math import cos, pi, sin

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.data.synthetic.dice import Dice
from retracker.data.synthetic.motion import Waves
from retracker.data.synthetic.scene import Film
from retracker.data.synthetic.settings import ClipSettings, Difficulty
from retracker.data.synthetic.surfaces import Camera, Surfaces

CHANNELS = 11  # of a surface's motion; see Surfaces
SWINGS = 2  # sinusoids per channel
BACKGROUND_DEPTH = 10.0
CAMERA_REACH = (
    0.22,
    0.16,
    0.35,
    1.3,
    0.9,
    0.7,
    0.3,
)  # yaw pitch roll (rad), x y z (world), log-zoom, at excursion 1


CALM = ((0.0, 0.0),) * 4  # no ripple: amplitudes, cycles, speeds, phases


@dataclass(frozen=True, kw_only=True)
class Part:
    """One surface, in plain numbers."""

    base: list[float | int]
    swings: dict[int, list[tuple[float, float, float]]] = field(
        default_factory=dict
    )  # amplitude frequency phase
    drift: dict[int, float] = field(default_factory=dict)
    round: bool = False
    attached: bool = False
    mover: bool = True
    bounded: bool = True
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    outline: tuple[float, float, float] = (0.0, 0.0, -1.0)
    ripple: tuple[tuple[float, float], ...] = CALM
    density: float = 1.0


def cast(settings: ClipSettings, difficulty: Difficulty, dice: Dice) -> tuple[list[Part], Camera]:
    """The surfaces of one clip and the camera that films them."""
    focal = dice.uniform(0.9, 1.3)  # in widths
    movers = dice.integer(*difficulty.objects)
    passing = min(movers, dice.integer(*difficulty.occluders))
    parts = background(focal, settings.width, difficulty, dice)
    parts += [thing(focal, settings.width, difficulty, dice) for _ in range(movers - passing)]
    parts += [_passer(focal, settings, difficulty, dice) for _ in range(passing)]
    return parts, _camera(focal, settings, difficulty, dice)


def film(settings: ClipSettings, difficulty: Difficulty, dice: Dice) -> Film:
    """Blur, brightness and noise of one clip."""
    gain = 1 + _brightness(settings.num_frames, difficulty, dice)
    blurred = dice.chance(difficulty.blurred)
    shutter = dice.uniform(0.3, 1.0) * difficulty.shutter if blurred else 0.0
    noise = dice.uniform(0.0, difficulty.noise)
    if not settings.photometric:
        gain, shutter, noise = torch.ones_like(gain), 0.0, 0.0
    return Film(
        gain=gain.float(),
        shutter=torch.tensor(shutter, dtype=torch.float64),
        noise=torch.tensor(noise, dtype=torch.float64),
        noise_seed=torch.tensor(dice.integer(0, 2**62)),
        grey=torch.tensor(settings.grey > 0 and dice.chance(settings.grey)),
    )


def _brightness(num_frames: int, difficulty: Difficulty, dice: Dice) -> Float[Tensor, "T 3"]:
    """Relative change per frame and channel; no two frames differ by more than the difficulty allows."""
    frames = torch.arange(num_frames)
    course = (frames * dice.uniform(0.05, 0.4) + dice.uniform(0, 2 * pi)).sin()
    if difficulty.jumps:
        for _ in range(1 + num_frames // 16):
            course = course + (frames >= dice.integer(0, num_frames)) * dice.sign() * dice.uniform(1, 3)
    course = course[:, None] * dice.uniforms(3, 0.8, 1.2)
    course = course - (course.amax(0) + course.amin(0)) / 2
    spread = (course.amax(0) - course.amin(0)).amax().clamp(min=1e-6)
    return course / spread * dice.uniform(0, difficulty.exposure)


def assemble(parts: list[Part], dice: Dice) -> Surfaces:
    """Turn S parts into one record of tensors with axis S."""

    def table(values: list) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)

    swings = torch.zeros(len(parts), CHANNELS, SWINGS, 3, dtype=torch.float64)
    drift = torch.zeros(len(parts), CHANNELS, dtype=torch.float64)
    for row, part in enumerate(parts):
        for channel, waves in part.swings.items():
            swings[row, channel, : len(waves)] = table(waves)
        for channel, speed in part.drift.items():
            drift[row, channel] = speed
    size, cycles, speed, phase = table([part.ripple for part in parts]).unbind(1)
    amplitude, frequency, angle = swings.unbind(-1)
    return Surfaces(
        motion=Waves(
            base=table([part.base for part in parts]),
            drift=drift,
            amplitude=amplitude,
            frequency=frequency,
            phase=angle,
        ),
        present=torch.ones(len(parts), dtype=torch.bool),
        **{
            name: torch.tensor([getattr(part, name) for part in parts])
            for name in ("round", "attached", "mover", "bounded")
        },
        scale=table([part.scale for part in parts]),
        outline=table([part.outline for part in parts]),
        ripple=size,
        ripple_waves=cycles,
        ripple_speed=speed,
        ripple_phase=phase,
        density=table([part.density for part in parts]),
        shift=dice.uniforms(2 * len(parts), 0.0, 4096.0).double().view(-1, 2),
    )


def _swing(amplitude: float, dice: Dice) -> list[tuple[float, float, float]]:
    """A smooth wandering: a slow sinusoid and a smaller, quick one. The scene's pace is set later."""
    slow = dice.uniform(0.06, 0.16)
    quick = slow * dice.uniform(2.0, 3.2)
    return [
        (amplitude, slow, dice.uniform(0.0, 2 * pi)),
        (amplitude * dice.uniform(0.05, 0.2), quick, dice.uniform(0.0, 2 * pi)),
    ]


def _camera(focal: float, settings: ClipSettings, difficulty: Difficulty, dice: Dice) -> Camera:
    reach = [reach * difficulty.excursion * dice.uniform(0.0, 1.0) for reach in CAMERA_REACH]
    favourite = dice.integer(0, 4)  # one kind of motion is always strong, unless it is locked
    reach[favourite] = CAMERA_REACH[favourite] * difficulty.excursion * dice.uniform(0.7, 1.0)
    waves = torch.tensor([_swing(amplitude, dice) for amplitude in reach], dtype=torch.float64)  # 7 2 3
    still = torch.zeros(len(reach), dtype=torch.float64)
    amplitude, frequency, phase = waves.unbind(-1)
    if settings.locked > 0 and dice.chance(settings.locked):
        amplitude = torch.zeros_like(amplitude)
    return Camera(
        motion=Waves(base=still, drift=still, amplitude=amplitude, frequency=frequency, phase=phase),
        focal=torch.tensor(focal * settings.width, dtype=torch.float64),
        centre=torch.tensor([settings.width / 2, settings.height / 2], dtype=torch.float64),
    )


def background(focal: float, width: int, difficulty: Difficulty, dice: Dice) -> list[Part]:
    """A wall, tilted and bent towards the camera at its sides, and often a floor or ceiling that meets it."""
    density = focal * width / BACKGROUND_DEPTH * dice.uniform(0.8, 1.1)
    tilt = [dice.uniform(-0.25, 0.25), dice.uniform(-0.2, 0.2), dice.uniform(-0.4, 0.4)]
    bend = [-dice.uniform(0.0, 0.05), -dice.uniform(0.0, 0.05)]
    ripple = _ripple(0.35, 0.12, dice) if dice.chance(difficulty.nonrigid * 0.6) else CALM
    wall = Part(
        base=[0, 0, BACKGROUND_DEPTH, *tilt, *bend, 0, 0, 0],
        mover=False, bounded=False, density=density, ripple=ripple,
    )  # fmt: skip
    if not dice.chance(0.5):
        return [wall]
    side = dice.sign()
    tilt = [dice.uniform(-0.15, 0.15), -side * dice.uniform(0.95, 1.2), 0]
    floor = Part(
        base=[0, side * dice.uniform(1.8, 2.6), 6.0, *tilt, 0, 0, 0, 0, 0],
        mover=False, bounded=False, density=density * 1.3,
    )  # fmt: skip
    return [wall, floor]


def _ripple(amplitude: float, cycles: float, dice: Dice) -> tuple[tuple[float, float], ...]:
    """Two crossed shears that travel; invertible whatever their size."""
    return (
        (amplitude * dice.uniform(0.4, 1.0), amplitude * dice.uniform(0.4, 1.0)),
        (cycles * dice.uniform(0.7, 1.3), cycles * dice.uniform(0.7, 1.3)),
        (dice.sign() * dice.uniform(0.01, 0.03), dice.sign() * dice.uniform(0.01, 0.03)),
        (dice.uniform(0.0, 1.0), dice.uniform(0.0, 1.0)),
    )


def _outline(dice: Dice) -> tuple[float, float, float]:
    hole = dice.uniform(0.1, 0.3) if dice.chance(0.12) else -1.0
    return dice.uniform(-0.45, 0.45), dice.uniform(-0.4, 0.5), hole


def thing(focal: float, width: int, difficulty: Difficulty, dice: Dice) -> Part:
    """An ellipsoid or a cut-out sheet somewhere in front of the wall, going its own way."""
    depth = dice.uniform(4.0, 7.0)
    unit = depth / focal  # the frame's width at that depth
    radius = unit * dice.uniform(0.09, 0.22)
    base = [dice.uniform(-0.38, 0.38) * unit, dice.uniform(-0.3, 0.3) * unit, depth]
    swings = {
        0: _swing(unit * dice.uniform(0.02, 0.3), dice),
        1: _swing(unit * dice.uniform(0.02, 0.2), dice),
        2: _swing(dice.uniform(0.0, 0.5), dice),
    }
    density = focal * width / depth * radius * dice.uniform(0.9, 1.2)
    if dice.chance(0.45):
        return _ball(base, swings, radius, density, difficulty, dice)
    swings |= {3: _swing(dice.uniform(0.0, 0.6), dice), 4: _swing(dice.uniform(0.0, 0.6), dice)}
    swings |= {5: _swing(dice.uniform(0.0, 0.9), dice)}
    bend = [dice.uniform(-0.7, 0.7), dice.uniform(-0.7, 0.7)] if dice.chance(0.6) else [0.0, 0.0]
    ripple = CALM
    if dice.chance(difficulty.nonrigid):
        swings |= {6: _swing(dice.uniform(0.2, 0.6), dice), 7: _swing(dice.uniform(0.1, 0.4), dice)}
        ripple = _ripple(0.22, 0.5, dice)
    return Part(
        base=[*base, 0, 0, dice.uniform(-pi, pi), *bend, 0, 0, 0],
        swings=swings, scale=(radius, radius, radius), outline=_outline(dice), ripple=ripple, density=density,
    )  # fmt: skip


def _ball(
    base: list, swings: dict, radius: float, density: float, difficulty: Difficulty, dice: Dice
) -> Part:
    scale = tuple((radius * dice.uniforms(3, 0.6, 1.1)).tolist())
    if dice.chance(difficulty.nonrigid):
        swings = swings | {channel: _swing(dice.uniform(0.05, 0.2), dice) for channel in (8, 9, 10)}
    turns = {3: dice.uniform(-0.03, 0.03), 4: dice.uniform(-0.02, 0.02), 5: dice.uniform(-0.03, 0.03)}
    start = dice.uniforms(3, -0.6, 0.6).tolist()
    return Part(
        base=[*base, *start, 0, 0, 0, 0, 0],
        swings=swings, drift=turns, round=True, scale=scale, density=density * 1.3,
    )  # fmt: skip


def _passer(focal: float, settings: ClipSettings, difficulty: Difficulty, dice: Dice) -> Part:
    """Something close to the camera that sweeps across the view and back, hiding each point for a few frames.

    Its pace is in frames, not the scene's: how long it hides a point is its width over its speed.
    """
    depth = dice.uniform(2.0, 2.6)
    unit = depth / focal
    shortest, longest = difficulty.occlusion
    clip = settings.num_frames * settings.frame_stride
    hidden = dice.uniform(min(shortest, clip / 4), min(longest, clip / 2))
    breadth = dice.uniform(0.1, 0.3)
    speed = min(breadth / hidden, 0.8 * difficulty.speed)
    breadth = speed * hidden
    length = dice.uniform(0.3, 0.8) if dice.chance(0.6) else breadth * dice.uniform(0.7, 1.4)
    reach = 0.5 + breadth / 2 + dice.uniform(0.1, 0.3)
    frequency = speed / reach
    crossing = dice.uniform(0.2, 0.8) * clip  # when it is in the middle
    heading = dice.uniform(-0.4, 0.4) + (pi / 2 if dice.chance(0.25) else 0) + (pi if dice.chance(0.5) else 0)
    aside = dice.uniform(-0.25, 0.25)
    size = (unit * breadth / 2, unit * length / 2)
    wave = [(unit * reach * part, frequency, -frequency * crossing) for part in (cos(heading), sin(heading))]
    ripple = _ripple(0.2, 0.5, dice) if dice.chance(difficulty.nonrigid) else CALM
    return Part(
        base=[-sin(heading) * aside * unit, cos(heading) * aside * unit, depth, 0, 0, heading, 0, 0, 0, 0, 0],
        swings={0: wave[:1], 1: wave[1:], 4: _swing(0.15, dice)},
        attached=True, scale=(*size, size[0]), outline=_outline(dice)[:2] + (-1.0,), ripple=ripple,
        density=focal * settings.width / depth * max(size),
    )  # fmt: skip
