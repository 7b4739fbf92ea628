"""What a scene is made of: a camera, and planes, bent and rippling sheets and ellipsoids that move.

Every surface is a quadric in its own frame, ``square . p^2 + linear p_z + constant = 0``: a sheet is
``z = (a x^2 + b y^2) / 2`` (a plane when a = b = 0), an ellipsoid the unit sphere before scaling.
Its material points have constant coordinates (u, v): on a sheet (x, y) up to two shears that change
with time, on an ellipsoid the octahedral map of the direction. Both ways are exact, so tracks,
visibility and pictures agree.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.data.synthetic.motion import Waves, product, rotation, transform
from retracker.types import TensorStruct

NEAR = 0.05  # nothing is drawn closer to the camera than this (scenes are about 10 deep)


@dataclass(frozen=True, kw_only=True)
class Camera(TensorStruct):
    """Yaw, pitch, roll, position x y z and log-zoom over time; the focal length is in px at zoom 1."""

    motion: Waves  # *A 7
    focal: Float[Tensor, "*A"]
    centre: Float[Tensor, "*A 2"]  # principal point, px


@dataclass(frozen=True, kw_only=True)
class Surfaces(TensorStruct):
    """S surfaces of each clip, absent ones included so that clips can be stacked."""

    motion: Waves  # *A S 11: position xyz, yaw pitch roll, curvature a b, log-scale xyz
    present: Bool[Tensor, "*A S"]
    round: Bool[Tensor, "*A S"]  # an ellipsoid; else a sheet
    attached: Bool[Tensor, "*A S"]  # moves with the camera's frame, not the world's
    mover: Bool[Tensor, "*A S"]  # not part of the background
    bounded: Bool[Tensor, "*A S"]  # has an outline (sheets only)
    scale: Float[Tensor, "*A S 3"]  # world units per local unit
    outline: Float[Tensor, "*A S 3"]  # three-lobe, four-lobe, radius^2 of a hole
    ripple: Float[Tensor, "*A S 2"]  # shear amplitudes, local units
    ripple_waves: Float[Tensor, "*A S 2"]  # cycles per local unit
    ripple_speed: Float[Tensor, "*A S 2"]  # cycles per frame
    ripple_phase: Float[Tensor, "*A S 2"]  # cycles
    density: Float[Tensor, "*A S"]  # texels per local unit
    shift: Float[Tensor, "*A S 2"]  # texels


@dataclass(frozen=True, kw_only=True)
class Posed(TensorStruct):
    """All surfaces at F times, as the camera sees them then."""

    rays: Float[Tensor, "B S F 3 3"]  # (x, y, 1) px -> direction in the local frame; its length makes depth 1
    origin: Float[Tensor, "B S F 3"]  # the camera in the local frame
    axes: Float[Tensor, "B S F 3 3"]  # local -> camera
    place: Float[Tensor, "B S F 3"]
    square: Float[Tensor, "B S F 3"]
    linear: Float[Tensor, "B S F"]
    constant: Float[Tensor, "B S F"]
    sharpness: Float[Tensor, "B S F"]  # px per unit of the outline function
    phase: Float[Tensor, "B S F 2"]  # of the ripples, cycles
    focal: Float[Tensor, "B S F"]
    centre: Float[Tensor, "B S F 2"]


def pose(surfaces: Surfaces, camera: Camera, time: Float[Tensor, "B F"]) -> Posed:
    """Put all surfaces in front of the camera at F times: a record with axes ``B S F``."""
    view = camera.motion.at(time)  # B F 7
    motion = surfaces.motion.at(time[:, None].expand(-1, surfaces.present.shape[1], -1))  # B S F 11
    turn = (
        rotation(view[..., :3])[:, None].transpose(-1, -2).expand(*motion.shape[:-1], 3, 3)
    )  # world -> camera
    place, axes = motion[..., :3], rotation(motion[..., 3:6])
    attached = surfaces.attached[..., None, None]
    place = torch.where(attached, place, transform(turn, place - view[:, None, :, 3:6]))
    axes = torch.where(attached[..., None], axes, product(turn, axes))
    scale = surfaces.scale[..., None, :] * motion[..., 8:11].exp()
    focal = (camera.focal[:, None] * view[..., 6].exp())[:, None].expand(motion.shape[:-1])
    centre = camera.centre[:, None, None].expand(*motion.shape[:-1], 2)
    local = axes.transpose(-1, -2) / scale[..., None]  # camera -> local
    back = local / focal[..., None, None]
    shifted = (back[..., :2] * centre[..., None, :]).sum(-1)
    ball = surfaces.round[..., None].to(place.dtype).expand(motion.shape[:-1])
    bend = torch.where(
        surfaces.round[..., None, None], torch.ones_like(motion[..., 6:8]), motion[..., 6:8] / 2
    )
    radius = focal * scale[..., :2].amin(-1) / place[..., 2].clamp(min=NEAR)
    turns = time[:, None, :, None] * surfaces.ripple_speed[..., None, :] + surfaces.ripple_phase[..., None, :]
    return Posed(
        rays=torch.cat([back[..., :2], (local[..., 2] - shifted)[..., None]], dim=-1),
        origin=-transform(local, place),
        axes=axes * scale[..., None, :],
        place=place,
        square=torch.cat([bend, ball[..., None]], dim=-1),
        linear=ball - 1,
        constant=-ball,
        sharpness=radius / 2,
        phase=turns,
        focal=focal,
        centre=centre,
    )
