"""Which points of a clip are worth following: corners, what moves by itself, and some of everything."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.inference.corners import corner_points
from retracker.inference.two_views import grid_points

CORNERS, MOVING = 0.5, 0.25  # shares of the points; the rest is spread evenly
SPARE = 3  # times as many corners are found as are taken: the strongest alone would lie in a heap
BIRTHS = (0.0, 0.33, 0.67)  # where in a clip points are asked for, as shares of it
SPREAD = 0.1  # of the clip: how far a birth frame is moved by chance
BLOCK_PX, LEAST_TEXTURE = 5, 2e-3  # of the structure tensor; of the frame's largest smaller eigenvalue
FLOW_PX = 320  # side of the frames between which motion is looked for
APART = 2  # frames between them


def choose_queries(
    video: UInt8[Tensor, "T 3 H W"], count: int, rng: np.random.Generator
) -> Float[Tensor, "N 3"]:
    """Up to ``count`` queries (t, x, y) px, born in three frames of the clip, where there is texture."""
    jitter = rng.uniform(-SPREAD, SPREAD, len(BIRTHS))
    births = ((np.array(BIRTHS) + jitter).clip(0, 1) * (len(video) - 1)).round().astype(int)
    births[0] = 0  # as benchmarks ask
    shares = np.diff(np.linspace(0, count, len(births) + 1).round().astype(int))
    parts = [
        torch.cat([torch.full((len(xy), 1), float(t)), xy], dim=-1)
        for t, share in zip(births.tolist(), shares.tolist(), strict=True)
        for xy in [points_of(video, t, share, rng)]
    ]
    return torch.cat(parts)


def points_of(
    video: UInt8[Tensor, "T 3 H W"], t: int, count: int, rng: np.random.Generator
) -> Float[Tensor, "N 2"]:
    """Up to ``count`` points of a frame: corners, moving ones and spread ones, all where there is texture."""
    frame = video[t]
    textured = texture(frame) > LEAST_TEXTURE
    num_corners, num_moving = round(CORNERS * count), round(MOVING * count)
    if not textured.any() or not count:
        return torch.zeros(0, 2)
    corners = corner_points(frame, SPARE * max(1, num_corners))
    corners = corners[torch.from_numpy(rng.permutation(len(corners))[:num_corners])]
    # Squared: a little noise over a large background must not outweigh somebody who walks there.
    moving = _drawn(textured * own_motion(video, t) ** 2, num_moving, rng)
    spread = _spread(textured, count - len(corners) - len(moving), rng)
    return torch.cat([corners, moving, spread])


def texture(frame: UInt8[Tensor, "3 H W"]) -> Float[np.ndarray, "H W"]:
    """How much something varies in both directions around each pixel, as a share of the most in the frame."""
    grey = cv2.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy()), cv2.COLOR_RGB2GRAY)
    smaller = cv2.cornerMinEigenVal(grey, BLOCK_PX)
    return smaller / max(float(smaller.max()), 1e-12)


def own_motion(video: UInt8[Tensor, "T 3 H W"], t: int) -> Float[np.ndarray, "H W"]:
    """How far each pixel of a frame moves otherwise than most do, px of a small frame (dense DIS flow)."""
    other = t + APART if t + APART < len(video) else max(0, t - APART)
    height, width = video.shape[-2:]
    scale = FLOW_PX / max(height, width)
    size = (max(16, round(scale * width)), max(16, round(scale * height)))
    small = [
        cv2.resize(cv2.cvtColor(video[i].permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY), size)
        for i in (t, other)
    ]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(*small, None)  # h w 2
    own = np.linalg.norm(flow - np.median(flow, axis=(0, 1)), axis=-1)
    return cv2.resize(own, (width, height))


def _drawn(weight: np.ndarray, count: int, rng: np.random.Generator) -> Float[Tensor, "N 2"]:
    """Centres of different pixels, by weight; fewer where fewer have any."""
    flat = weight.ravel().astype(float)
    count = min(count, int(np.count_nonzero(flat)))
    if not count:
        return torch.zeros(0, 2)
    chosen = rng.choice(len(flat), count, replace=False, p=flat / flat.sum())
    rows, columns = np.unravel_index(chosen, weight.shape)
    return torch.from_numpy(np.stack([columns, rows], axis=-1) + 0.5).float()


def _spread(textured: np.ndarray, count: int, rng: np.random.Generator) -> Float[Tensor, "N 2"]:
    """Points that cover the frame evenly, moved by chance, those without texture left out."""
    height, width = textured.shape
    share = max(float(textured.mean()), 0.01)
    points = grid_points(height, width, max(1, int(np.ceil((max(count, 1) / share) ** 0.5))))
    tile = np.array([width, height]) / len(points) ** 0.5
    points = points + torch.from_numpy(rng.uniform(-0.5, 0.5, tuple(points.shape)) * tile).float()
    limit = torch.tensor([width - 0.5, height - 0.5])
    points = points.clamp(min=0.5).minimum(limit)
    column, row = points.long().unbind(-1)
    points = points[torch.from_numpy(textured[row.numpy(), column.numpy()])]
    return points[torch.from_numpy(rng.permutation(len(points))[: max(count, 0)])]
