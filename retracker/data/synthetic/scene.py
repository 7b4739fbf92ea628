"""A batch of scenes, ready to be drawn, and the questions that geometry alone answers about them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.synthetic.lighting import Lamp
from retracker.data.synthetic.rays import Hit, intersect, project
from retracker.data.synthetic.surfaces import Camera, Posed, Surfaces, pose
from retracker.types import DenseFlow, TensorStruct

SAME_DEPTH = 1e-4  # a point is seen if it is as deep as what its pixel shows, up to this share
ATLAS_TILES = 10  # the most surfaces of a scene; fixed, so that texels round alike in every batch


@dataclass(frozen=True, kw_only=True)
class Film(TensorStruct):
    """How light becomes grey levels."""

    gain: Float[Tensor, "*A T 3"]
    shutter: Float[Tensor, "*A"]  # exposure time, frames; centred on the frame's own time
    noise: Float[Tensor, "*A"]  # standard deviation, grey levels
    noise_seed: Int[Tensor, "*A"]
    grey: Bool[Tensor, "*A"]  # without colours


@dataclass(frozen=True, kw_only=True)
class Scene(TensorStruct):
    """B scenes of T frames, H x W px. Tile s of the atlas, from the top, is the texture of surface s."""

    camera: Camera
    surfaces: Surfaces
    lamp: Lamp
    film: Film
    atlas: UInt8[Tensor, "*A 3 SK K"]  # ATLAS_TILES of K x K texels, one below the other
    time: Float[Tensor, "*A T"]  # when each frame is taken
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Material(TensorStruct):
    """Points that stick to surfaces."""

    surface: Int[Tensor, "B P"]
    u: Float[Tensor, "B P"]
    v: Float[Tensor, "B P"]


def hits(posed: Posed, surfaces: Surfaces, x: Tensor, y: Tensor) -> Hit:
    """What the rays through pixels (x, y) meet, for all S surfaces (stacked first)."""
    found = [intersect(posed, surfaces, index, x, y) for index in range(surfaces.present.shape[1])]
    return Hit(
        **{name: torch.stack([getattr(hit, name) for hit in found]) for name in ("depth", "margin", "u", "v")}
    )


def front(posed: Posed, surfaces: Surfaces, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth, surface and material coordinates (u, v) of what is seen at pixels (x, y): each ``B F P Q``."""
    found = hits(posed, surfaces, x, y)
    depth = torch.where(found.margin > 0, found.depth, torch.inf)
    nearest, index = depth.min(0)
    u, v = (value.gather(0, index[None])[0] for value in (found.u, found.v))
    return nearest, index, u, v


def positions(posed: Posed, surfaces: Surfaces, points: Material) -> tuple[Tensor, Tensor]:
    """Where material points are at each of the F posed times: px ``B F P 2`` and depth ``B F P``."""
    frames = posed.focal.shape[2]
    u, v, owner = (value[:, None].expand(-1, frames, -1) for value in (points.u, points.v, points.surface))
    xy, depth = project(posed, surfaces, 0, u, v)
    for index in range(1, surfaces.present.shape[1]):
        own_xy, own_depth = project(posed, surfaces, index, u, v)
        xy = torch.where((owner == index)[..., None], own_xy, xy)
        depth = torch.where(owner == index, own_depth, depth)
    return xy, depth


def follow(
    scene: Scene, points: Material, time: Float[Tensor, "B F"]
) -> tuple[Float[Tensor, "B F P 2"], Bool[Tensor, "B F P"], Bool[Tensor, "B F P"]]:
    """Tracks of material points (px), whether each is seen, and whether it lies inside the frame at all."""
    posed = pose(scene.surfaces, scene.camera, time)
    xy, depth = positions(posed, scene.surfaces, points)
    x, y = xy[..., None, :].unbind(-1)  # B F P 1
    nearest = front(posed, scene.surfaces, x, y)[0][..., 0]
    inside = (xy >= 0).all(-1) & (xy[..., 0] < scene.width) & (xy[..., 1] < scene.height)
    return xy, inside & ((nearest - depth).abs() <= SAME_DEPTH * depth), inside


def pixel_centres(scene: Scene) -> tuple[Float[Tensor, " W"], Float[Tensor, "H 1"]]:
    """The x of every column and the y of every row, px."""
    x = torch.arange(scene.width, device=scene.time.device, dtype=scene.time.dtype) + 0.5
    y = torch.arange(scene.height, device=scene.time.device, dtype=scene.time.dtype) + 0.5
    return x, y[:, None]


def depth_between(scene: Scene, first: int, last: int) -> Float[Tensor, "B F H W"]:
    """Depth (world units, along the view axis) of the pixel centres of frames ``first`` to ``last - 1``."""
    posed = pose(scene.surfaces, scene.camera, scene.time[:, first:last])
    return front(posed, scene.surfaces, *pixel_centres(scene))[0]


def flow_between(scene: Scene, source: int, target: int) -> DenseFlow:
    """Where every pixel of frame ``source`` is in frame ``target``: displacement ``B H W 2`` and validity.

    Valid: something solid is there, and it is seen in frame ``target`` too; absent: it is not.
    """
    x, y = pixel_centres(scene)
    posed = pose(scene.surfaces, scene.camera, scene.time[:, source, None])
    depth, index, u, v = (value[:, 0].flatten(1) for value in front(posed, scene.surfaces, x, y))
    xy, seen, _ = follow(scene, Material(surface=index, u=u, v=v), scene.time[:, target, None])
    shape = (scene.height, scene.width)
    start = torch.stack([x.expand(shape), y.expand(shape)], dim=-1)
    solid, seen = depth.isfinite().unflatten(1, shape), seen[:, 0].unflatten(1, shape)
    valid = solid & seen
    displacement = xy[:, 0].unflatten(1, shape) - start
    return DenseFlow(
        displacement=torch.where(valid[..., None], displacement, 0), valid=valid, absent=solid & ~seen
    )
