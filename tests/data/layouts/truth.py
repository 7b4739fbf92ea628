"""Rendered clips with all that any public data set stores about one: depth, cameras, segments, flow."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.synthetic import ClipSettings
from retracker.data.synthetic.clip import draw_clip
from retracker.data.synthetic.motion import rotation, transform
from retracker.data.synthetic.raster import draw, without_film
from retracker.data.synthetic.scene import Scene, depth_between, flow_between, front, pixel_centres
from retracker.data.synthetic.surfaces import pose
from retracker.types import DenseFlow


@dataclass(frozen=True, kw_only=True)
class Truth:
    """One unbatched clip, everything exact. Lengths are in the renderer's world units."""

    video: UInt8[Tensor, "T 3 H W"]
    tracks: Float[Tensor, "T N 2"]  # raster px
    visible: Bool[Tensor, "T N"]
    birth: Int[Tensor, " N"]  # a frame in which the point is visible
    depth: Float[Tensor, "T H W"]  # of pixel centres, along the optical axis; finite
    segment: Int[Tensor, "T H W"]  # which surface each pixel centre shows; 0 is the wall
    intrinsics: Float[Tensor, "T 3 3"]  # raster
    poses: Float[Tensor, "T 4 4"]  # world -> camera (x right, y down, z ahead)
    scene: Scene  # B = 1: for flow and for other questions

    def flow(self, source: int, target: int) -> DenseFlow:
        """Where each pixel centre of one frame is in another: displacement 1 H W 2, valid 1 H W."""
        return flow_between(self.scene, source, target)


@cache
def rendered(
    seed: int,
    *,
    difficulty: str = "medium",
    num_frames: int = 8,
    num_points: int = 32,
    height: int = 64,
    width: int = 96,
    static: bool = False,
) -> Truth:
    """The clip of one seed, without blur or noise. ``static``: nothing but the camera moves, so that depth
    and poses say all about its motion (its tracks are left as they were: use ``flow``)."""
    settings = ClipSettings(
        difficulty=difficulty, num_frames=num_frames, num_points=num_points, height=height, width=width
    )
    clip = draw_clip(seed, settings)
    scene = without_film(frozen(clip.scene) if static else clip.scene)
    posed = pose(scene.surfaces, scene.camera, scene.time)
    _, segment, _, _ = front(posed, scene.surfaces, *pixel_centres(scene))
    return Truth(
        video=draw(scene)[0],
        tracks=clip.tracks[0],
        visible=clip.visible[0],
        birth=clip.queries.frame[0],
        depth=depth_between(scene, 0, num_frames)[0],
        segment=segment[0],
        intrinsics=intrinsics(scene),
        poses=poses(scene),
        scene=scene,
    )


def intrinsics(scene: Scene) -> Float[Tensor, "T 3 3"]:
    view = scene.camera.motion.at(scene.time)[0]  # T 7
    focal = scene.camera.focal[0] * view[:, 6].exp()
    matrix = torch.zeros(len(focal), 3, 3, dtype=torch.float64)
    matrix[:, 0, 0] = matrix[:, 1, 1] = focal
    matrix[:, :2, 2] = scene.camera.centre[0]
    matrix[:, 2, 2] = 1
    return matrix


def poses(scene: Scene) -> Float[Tensor, "T 4 4"]:
    view = scene.camera.motion.at(scene.time)[0]
    turn = rotation(view[:, :3]).transpose(-1, -2)  # world -> camera
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(view), 1, 1)
    matrix[:, :3, :3] = turn
    matrix[:, :3, 3] = -transform(turn, view[:, 3:6])
    return matrix


def frozen(scene: Scene) -> Scene:
    """The same scene with its movers standing where they are in the first frame, and without passers."""
    surfaces = scene.surfaces
    start = surfaces.motion.at(scene.time[:, None, :1].expand(-1, surfaces.present.shape[1], -1))[:, :, 0]
    motion = replace(
        surfaces.motion,
        base=start,
        drift=torch.zeros_like(surfaces.motion.drift),
        amplitude=torch.zeros_like(surfaces.motion.amplitude),
    )
    still = replace(
        surfaces,
        motion=motion,
        present=surfaces.present & ~surfaces.attached,
        ripple_speed=torch.zeros_like(surfaces.ripple_speed),
    )
    return replace(scene, surfaces=still)
