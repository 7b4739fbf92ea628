"""One clip from one seed: its scene at the right pace, its queries and their exact tracks."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.synthetic.casting import assemble, cast, film
from retracker.data.synthetic.dice import Dice
from retracker.data.synthetic.lighting import draw_lamp, no_lamp
from retracker.data.synthetic.scene import ATLAS_TILES, Material, Scene, follow, front
from retracker.data.synthetic.settings import DIFFICULTIES, GROUPS, ClipSettings, Difficulty
from retracker.data.synthetic.surfaces import Posed, pose
from retracker.data.synthetic.textures import PHOTOGRAPHS, TEXTURES, draw_texture
from retracker.types import Queries, TensorStruct

ATTEMPTS = 40  # scenes drawn before a strict clip is declared impossible
TILE = 1.5  # side of a texture, in frame widths
RETURNING = 0.15  # of a strict hard clip's queries: leave the frame and come back
STILL = 1e-6  # px per frame: what a locked camera sees of a wall moves by less, which is rounding
RIM = 1 / 40  # of the frame's width: so far around a point, something else is in front
STEP = 0.05  # of the depth: walls that meet in a crease have a smaller one, and no rim
HIDDEN = 0.25  # of a strict clip's queries: hidden for a while inside the frame


@dataclass(frozen=True, kw_only=True)
class Clip(TensorStruct):
    """A scene and N points followed through it; axis B is 1 until clips are put together."""

    scene: Scene
    queries: Queries
    tracks: Float[Tensor, "B T N 2"]
    visible: Bool[Tensor, "B T N"]


@dataclass(frozen=True, kw_only=True)
class Candidates(TensorStruct):
    """Points that queries may be chosen from, with what happens to each."""

    xy: Float[Tensor, "T P 2"]
    visible: Bool[Tensor, "T P"]
    birth: Int[Tensor, " P"]
    mover: Bool[Tensor, " P"]
    rim: Bool[Tensor, " P"]  # beside one of any surface, in the frame of its birth
    fastest: Float[Tensor, " P"]  # px per frame, while it is seen
    hidden: Int[Tensor, " P"]  # longest run of frames inside the frame but covered, after birth
    returns: Bool[Tensor, " P"]  # leaves the frame after birth and is seen again


def draw_clip(seed: int, settings: ClipSettings) -> Clip:
    """Everything about one clip but its pixels, drawn from ``seed`` on the CPU."""
    for attempt in range(ATTEMPTS):
        dice = Dice(seed, attempt)
        group = dice.pick(DIFFICULTIES) if settings.difficulty == "train" else settings.difficulty
        difficulty = GROUPS[group]
        scene = _scene(settings, difficulty, dice)
        candidates = _candidates(scene, settings, dice)
        chosen = _choose(candidates, settings, difficulty, dice)
        if chosen is not None:
            return _clip(scene, candidates, chosen)
    raise ValueError(
        f"no {settings.difficulty} clip of these settings was found in {ATTEMPTS} attempts: {settings}"
    )


def _scene(settings: ClipSettings, difficulty: Difficulty, dice: Dice) -> Scene:
    parts, camera = cast(settings, difficulty, dice)
    tile = round(TILE * max(settings.width, settings.height))
    atlas = torch.zeros(3, ATLAS_TILES * tile, tile, dtype=torch.uint8)
    atlas[:, : len(parts) * tile] = torch.cat(
        [_texture(tile, part.mover, settings, difficulty, dice) for part in parts], dim=1
    )
    time = torch.arange(settings.num_frames, dtype=torch.float64) * settings.frame_stride
    scene = Scene(
        camera=camera,
        surfaces=assemble(parts, dice),
        film=film(settings, difficulty, dice),
        lamp=draw_lamp(dice) if settings.shaded > 0 and dice.chance(settings.shaded) else no_lamp(),
        atlas=atlas,
        time=time,
        height=settings.height,
        width=settings.width,
    ).map(lambda value: value[None])
    pace = dice.uniform(0.35, 0.9) * difficulty.speed * settings.width
    for _ in range(2):  # speed is only nearly proportional to pace
        scene = _sped_up(scene, pace / _usual_speed(scene).clamp(min=1e-3))
    return scene


def _texture(
    tile: int, mover: bool, settings: ClipSettings, difficulty: Difficulty, dice: Dice
) -> UInt8[Tensor, "3 K K"]:
    photographs = TEXTURES if settings.spare_held_out else PHOTOGRAPHS
    weak = difficulty.weak if settings.weak is None else settings.weak
    weak = weak if mover else weak * settings.weak_walls
    return draw_texture(tile, weak, dice, photographs, settings.photo_share)


def _sped_up(scene: Scene, factor: Float[Tensor, ""]) -> Scene:
    """The same scene with all but the passers running ``factor`` times as fast."""
    factor = factor.clamp(0.05, 8)
    own = torch.where(scene.surfaces.attached, 1.0, factor)
    surfaces = replace(
        scene.surfaces,
        motion=scene.surfaces.motion.sped_up(own),
        ripple_speed=scene.surfaces.ripple_speed * own[..., None],
    )
    camera = replace(scene.camera, motion=scene.camera.motion.sped_up(factor.expand(1)))
    return replace(scene, surfaces=surfaces, camera=camera)


def _usual_speed(scene: Scene) -> Float[Tensor, ""]:
    """What moves at all moves so far in a frame, px: a high percentile over a grid and some moments."""
    x = (torch.arange(8, dtype=torch.float64) + 0.5) / 8 * scene.width
    y = (torch.arange(8, dtype=torch.float64) + 0.5)[:, None] / 8 * scene.height
    moments = scene.time[:, torch.linspace(0, scene.time.shape[1] - 1, 6).long()]
    posed = pose(scene.surfaces, scene.camera, moments)
    _, index, u, v = (value[0].flatten(1) for value in front(posed, scene.surfaces, x, y))  # 6 64
    steps = []
    for moment, owner, across, down in zip(moments[0], index, u, v, strict=True):
        points = Material(surface=owner[None], u=across[None], v=down[None])
        xy, seen, _ = follow(scene, points, torch.stack([moment, moment + 1])[None])
        own = ~scene.surfaces.attached[0, owner] & seen[0].all(0)
        step = (xy[0, 1] - xy[0, 0]).norm(dim=-1)[own]
        steps.append(step[step > STILL])
    return torch.cat(steps).quantile(0.96) if any(len(step) for step in steps) else torch.tensor(1.0)


def _candidates(scene: Scene, settings: ClipSettings, dice: Dice) -> Candidates:
    """Points at random pixels of random birth frames, more than are needed."""
    count = 4 * settings.num_points + 64
    births = dice.uniforms(count, 0.0, max(1, settings.last_birth * settings.num_frames)).long()
    births = torch.where(dice.uniforms(count, 0.0, 1.0) < settings.first_frame_share, 0, births)
    births = births.clamp(max=settings.num_frames - 1)
    x, y = (dice.uniforms(count, 0.5, size - 0.5).double() for size in (scene.width, scene.height))
    posed = pose(scene.surfaces, scene.camera, scene.time[:, births])  # one time per point
    _, index, u, v = (
        value[0, :, 0, 0] for value in front(posed, scene.surfaces, x[:, None, None], y[:, None, None])
    )
    points = Material(surface=index[None], u=u[None], v=v[None])
    xy, seen, inside = (value[0] for value in follow(scene, points, scene.time))
    alive = torch.arange(len(seen))[:, None] >= births
    step = (xy[1:] - xy[:-1]).norm(dim=-1) * (seen[1:] & seen[:-1])
    return Candidates(
        xy=xy,
        visible=seen,
        birth=births,
        mover=scene.surfaces.mover[0, index],
        rim=_beside_rim(scene, posed, x, y, index) if settings.rim_share else torch.zeros_like(seen[0]),
        fastest=torch.cat([step, torch.zeros_like(xy[:1, :, 0])]).amax(0) / settings.frame_stride,
        hidden=_longest_run(inside & ~seen & alive),
        returns=_returns(inside, seen, alive),
    )


def _beside_rim(
    scene: Scene, posed: Posed, x: Float[Tensor, " P"], y: Float[Tensor, " P"], index: Int[Tensor, " P"]
) -> Bool[Tensor, " P"]:
    """Whether at any of eight places around pixels (x, y), of surface ``index``, another one ends or begins.

    ``posed``: at P times, one per pixel.
    """
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4
    reach = torch.cat([torch.zeros(1), torch.full((8,), RIM * scene.width)]).double()
    right, down = reach * F.pad(angle.cos(), (1, 0)), reach * F.pad(angle.sin(), (1, 0))
    depth, other, _, _ = front(
        posed, scene.surfaces, (x[:, None] + right)[:, None], (y[:, None] + down)[:, None]
    )
    depth, other = depth[0, :, 0], other[0, :, 0]  # P 9, the pixel itself first
    mover = scene.surfaces.mover[0]
    apart = (depth - depth[:, :1]).abs() > STEP * depth[:, :1]
    return ((other != index[:, None]) & (apart | mover[other] | mover[index][:, None])).any(-1)


def _longest_run(mask: Bool[Tensor, "T P"]) -> Int[Tensor, " P"]:
    run = torch.zeros(mask.shape[1], dtype=torch.long)
    longest = run
    for row in mask:
        run = (run + 1) * row
        longest = torch.maximum(longest, run)
    return longest


def _returns(inside: Tensor, seen: Tensor, alive: Tensor) -> Bool[Tensor, " P"]:
    left = (~inside & alive).cummax(0).values
    return (left & seen).any(0)


def _choose(
    found: Candidates, settings: ClipSettings, difficulty: Difficulty, dice: Dice
) -> Int[Tensor, " N"] | None:
    """Which candidates become queries; None where the scene does not offer what its difficulty promises."""
    born = found.visible.gather(0, found.birth[None])[0]
    fair = (
        born
        & (found.fastest <= difficulty.speed * settings.width)
        & (found.hidden <= difficulty.occlusion[1])
    )
    if fair.sum() < settings.num_points:
        return None
    order = torch.randperm(len(fair), generator=dice.rng)
    order = order[fair[order]]
    wanted = _quotas(found, settings, difficulty)
    first = []
    for kind, share in wanted:
        picks = order[kind[order]][: int(share * settings.num_points + 0.999)]
        if settings.strict and len(picks) < share * settings.num_points:
            return None
        first.append(picks)
    ranked = torch.cat([*first, order]).tolist()
    chosen = list(dict.fromkeys(ranked))[: settings.num_points]
    return torch.tensor(chosen)[torch.randperm(len(chosen), generator=dice.rng)]


def _quotas(
    found: Candidates, settings: ClipSettings, difficulty: Difficulty
) -> list[tuple[Bool[Tensor, " P"], float]]:
    """Kinds of points that come first, with the share of the queries each shall have."""
    quotas = []
    if settings.strict and difficulty.occlusion[1]:
        quotas.append((found.hidden >= difficulty.occlusion[0], HIDDEN))
    if settings.strict and difficulty.jumps:
        quotas.append((found.returns, RETURNING))
    if settings.rim_share:
        quotas.append((found.rim, settings.rim_share))
    if difficulty.objects[1] and not settings.strict:
        quotas.append((found.mover, settings.object_share))
    return quotas


def _clip(scene: Scene, found: Candidates, chosen: Int[Tensor, " N"]) -> Clip:
    tracks = found.xy[:, chosen].float()[None]
    birth = found.birth[chosen][None]
    start = tracks.gather(1, birth[:, None, :, None].expand(-1, -1, -1, 2))[:, 0]
    return Clip(
        scene=scene,
        queries=Queries(xy=start, frame=birth),
        tracks=tracks,
        visible=found.visible[:, chosen][None],
    )
