"""One picture, seen through a random path of warps: its frames, the tracks of its points, its flow.

A frame is square and has its own coordinates here: (0, 0) to (1, 1). Those of the picture are raster pixels.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.warp import averaged
from retracker.geometry.homography import affine, turned
from retracker.geometry.plane_warp import PlaneWarp, thin_plate_moves, thin_plate_spline
from retracker.types import DenseFlow

CONTROLS = 4  # points of the spline along each side of the frame
REACH = 0.5  # of the frame's side: places are solved for up to here beyond it
CHECKED = 33  # places along each side of what is solved for at which the spline's gradient is looked at
MOST_BENT = 0.5  # the spline's gradient; below 1 nothing folds
CANDIDATES = 4  # times as many points are drawn, since the picture does not fill every frame
OUTSIDE = -1e4  # px: where nothing of the picture is


@dataclass(frozen=True, kw_only=True)
class Warping:
    """How far a picture is warped at most: each frame of a pair, or a longer clip from first to last."""

    zoom: float | int  # a frame shows between the whole of the picture's shorter side and 1 / zoom of it
    turn: float | int  # degrees
    scale: float | int  # by a factor of 1 + scale
    stretch: float | int  # of one side against the other, by a factor of 1 + stretch
    shift: float | int  # of the frame's side
    tilt: float | int  # perspective: how much smaller the border is than the middle, at most 0.3
    bend: float | int  # of the frame's side: how far the control points of a thin-plate spline are moved

    def __post_init__(self) -> None:
        if self.zoom < 1 or not 0 <= self.tilt <= 0.3:
            raise ValueError(
                f"warping: expected zoom >= 1 and tilt from 0 to 0.3, got {self.zoom} and {self.tilt}"
            )


def draw_warp(
    picture: tuple[int, int], num_frames: int, warping: Warping, rng: np.random.Generator
) -> PlaneWarp:
    """Where the frames of a clip take their places from in a picture of (height, width)."""
    size = torch.tensor([picture[1], picture[0]], dtype=torch.float64)
    side = size.min() / warping.zoom ** rng.uniform(0, 1)  # what a frame shows when nothing is warped
    centre = size / 2 + (size - side) / 2 * torch.from_numpy(rng.uniform(-1, 1, 2))
    steps = torch.linspace(0, 1, CONTROLS, dtype=torch.float64)
    centres = torch.cartesian_prod(steps, steps)
    bends = path(num_frames, 2 * len(centres), rng).unflatten(1, (-1, 2)) * warping.bend
    placed = affine(torch.eye(2, dtype=torch.float64) * side, torch.zeros(2, dtype=torch.float64), centre)
    return PlaneWarp(
        centres=centres,
        spline=unfolded(thin_plate_spline(centres, bends), centres),
        homography=placed @ homographies(path(num_frames, 7, rng), warping),
    )


def path(num_frames: int, num: int, rng: np.random.Generator) -> Float[Tensor, "T num"]:
    """Amounts from -1 to 1: independent ones for a pair, else a parabola from 0 through two drawn values."""
    drawn = rng.uniform(-1, 1, (2, num))
    if num_frames == 2:
        return torch.from_numpy(drawn)
    time = np.linspace(0, 1, num_frames)[:, None]
    return torch.from_numpy(4 * time * (1 - time) * drawn[0] + time * (2 * time - 1) * drawn[1])


def homographies(amounts: Float[Tensor, "T 7"], warping: Warping) -> Float[Tensor, "T 3 3"]:
    """Turn, scale, stretch, shift (2) and tilt (2) about a frame's middle, which is (0, 0) afterwards."""
    turn, scale, stretch, *_ = amounts.unbind(-1)
    scale, stretch = scale * np.log1p(warping.scale), stretch * np.log1p(warping.stretch) / 2
    linear = turned(
        turn * np.deg2rad(warping.turn), torch.stack([scale + stretch, scale - stretch], -1).exp()
    )
    half = torch.full((2,), 0.5, dtype=torch.float64)
    middle = affine(torch.eye(2, dtype=torch.float64), half, torch.zeros_like(half))
    tilted = torch.eye(3, dtype=torch.float64).repeat(len(amounts), 1, 1)
    tilted[:, 2, :2] = amounts[:, 5:] * warping.tilt
    return affine(linear, torch.zeros_like(half), amounts[:, 3:5] * warping.shift) @ tilted @ middle


def unfolded(
    spline: Float[Tensor, "T coefficients 2"], centres: Float[Tensor, "K 2"]
) -> Float[Tensor, "T coefficients 2"]:
    """The same spline, weaker where its gradient could reach 1: then two places might show the same."""
    steps = torch.linspace(-REACH, 1 + REACH, CHECKED, dtype=spline.dtype)
    _, slope = thin_plate_moves(torch.cartesian_prod(steps, steps), centres, spline)  # T P 2 2
    steepest = slope.flatten(2).norm(dim=-1).max()
    return spline * (MOST_BENT / steepest).clamp(max=1)


def draw_tracks(
    warp: PlaneWarp, picture: tuple[int, int], num_points: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "T N 2"], Bool[Tensor, "T N"]]:
    """Points seen at random places of random frames: where each frame has them, and whether that is known."""
    num = CANDIDATES * num_points
    frame = torch.from_numpy(rng.integers(len(warp.homography), size=num))
    place = torch.from_numpy(rng.uniform(0, 1, (num, 1, 2)))
    source, shown = frames_of(warp, frame).source(place)
    kept = (shown & inside(source, picture))[:, 0].nonzero()[:num_points, 0]
    return find(warp, source[kept, 0])


def find(
    warp: PlaneWarp, source: Float[Tensor, "*#T N 2"]
) -> tuple[Float[Tensor, "*T N 2"], Bool[Tensor, "*T N"]]:
    """Where each frame shows places of the picture, and whether it can be said: not far beyond the frame."""
    there, found = warp.find(source)
    return there, found & ((there > -REACH) & (there < 1 + REACH)).all(-1)


def render(picture: UInt8[np.ndarray, "H W 3"], warp: PlaneWarp, size: int) -> UInt8[Tensor, "T 3 size size"]:
    """The frames, each resampled once; beyond the picture they are black."""
    # Single precision is enough here (1e-3 px), and twice as fast.
    source, ahead = warp.map(Tensor.float).source(centres_of_pixels(size).float())  # T P 2
    cell = max(1, round(float(source[0].diff(dim=0)[: size - 1].norm(dim=-1).median())))
    smaller = averaged(picture, cell, cell)
    index = torch.where(ahead[..., None], source / cell - 0.5, OUTSIDE)
    maps = index.reshape(-1, size, size, 2).numpy()
    frames = [cv2.remap(smaller, places, None, cv2.INTER_LINEAR) for places in maps]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def flow_between(warp: PlaneWarp, picture: tuple[int, int], size: int) -> DenseFlow:
    """Where every pixel of frame 0 that shows the picture goes; one found beyond a frame is absent there."""
    places = centres_of_pixels(size)
    source, ahead = frames_of(warp, slice(0, 1)).source(places)
    there, found = find(frames_of(warp, slice(1, None)), source)
    there = torch.cat([places[None], there])
    known = torch.cat([torch.ones_like(ahead), found]) & ahead & inside(source, picture)
    shown = ((there >= 0) & (there < 1)).all(-1)
    valid = known & shown
    change = torch.where(valid[..., None], there - places, 0.0) * size
    return DenseFlow(
        displacement=change.reshape(-1, size, size, 2).float(),
        valid=valid.reshape(-1, size, size),
        absent=(known & ~shown).reshape(-1, size, size),
    )


def frames_of(warp: PlaneWarp, chosen: slice | Int[Tensor, " M"]) -> PlaneWarp:
    """The warp of some frames."""
    return replace(warp, spline=warp.spline[chosen], homography=warp.homography[chosen])


def centres_of_pixels(size: int) -> Float[Tensor, "P 2"]:
    """The centres of a frame's pixels, row by row, in its own coordinates."""
    steps = (torch.arange(size, dtype=torch.float64) + 0.5) / size
    return torch.cartesian_prod(steps, steps).flip(-1)


def inside(source: Float[Tensor, "*B 2"], picture: tuple[int, int]) -> Bool[Tensor, "*B"]:
    """Whether places lie in a picture of (height, width)."""
    return ((source >= 0) & (source < source.new_tensor([picture[1], picture[0]]))).all(-1)
