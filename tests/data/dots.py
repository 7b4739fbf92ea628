"""A clip of coloured dots on black whose tracks are known, and where a dot is found in any picture of it."""

from functools import cache

import numpy as np
import torch

from retracker.types import Queries, VideoSample

RADIUS = 5.0  # px
FINE = 8  # samples per pixel and axis: the centroid of a drawn dot is exact to 0.01 px
FAINT = 0.1  # of the brightest: what stands out less is not the dot
BRIGHT = [[255, 40, 40], [40, 255, 40], [60, 60, 255], [255, 255, 40], [255, 40, 255], [40, 255, 255]]
COLOURS = np.array([*BRIGHT, [250, 250, 250]])
SHY = (4, (2, 3))  # this dot is not drawn in these frames


@cache
def dotted(num_frames=6, height=120, width=160):
    """Seven dots in rows of their own, drifting by fractions of a pixel; the last runs out of the picture."""
    n = len(COLOURS)
    start = np.stack([np.linspace(25, width - 32, n), (np.arange(n) * 3 % n + 0.9) * height / (n + 0.6)], -1)
    speed = np.stack([np.linspace(-2.3, 1.9, n), np.linspace(0.37, -0.41, n)], -1)
    speed[-1] = (11.3, 0.2)
    tracks = start + np.arange(num_frames)[:, None, None] * speed  # T N 2
    drawn = np.ones(tracks.shape[:2], bool)
    drawn[[t for t in SHY[1] if t < num_frames], SHY[0]] = False
    frames = [
        picture(xy[there], COLOURS[there], height, width) for xy, there in zip(tracks, drawn, strict=True)
    ]
    inside = ((tracks >= 0) & (tracks < (width, height))).all(-1)
    visible = torch.from_numpy(drawn & inside)
    return VideoSample(
        video=torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous(),
        queries=Queries(xy=torch.from_numpy(tracks[0]).float(), frame=torch.zeros(n, dtype=torch.long)),
        tracks=torch.from_numpy(tracks).float(),
        visible=visible,
        labelled=torch.ones_like(visible),
        located=torch.ones_like(visible),
        name="dots/0",
    )


def picture(xy, colours, height, width):
    """Discs, smoothed at their edges as a sensor would."""
    y, x = (np.mgrid[: height * FINE, : width * FINE] + 0.5) / FINE
    number = np.zeros((height * FINE, width * FINE), np.int64)
    for index, (cx, cy) in enumerate(xy, start=1):
        number[(x - cx) ** 2 + (y - cy) ** 2 < RADIUS**2] = index
    fine = np.concatenate([np.zeros((1, 3)), colours])[number].reshape(height, FINE, width, FINE, 3)
    return np.rint(fine.mean((1, 3))).astype(np.uint8)


def found(frame, xy, reach):
    """The centroid of what stands out within ``reach`` px of a place; None where that leaves the frame."""
    height, width = frame.shape[-2:]
    left, top = (round(float(v)) - reach for v in xy)
    side = 2 * reach
    if left < 0 or top < 0 or left + side > width or top + side > height:
        return None
    window = frame[:, top : top + side, left : left + side].double()
    ground = window.flatten(1).median(1).values[:, None, None]
    weight = (window - ground).abs().sum(0)
    weight = (weight - FAINT * weight.max()).clamp(min=0)  # grain and ringing are not the dot
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    centroid = torch.stack([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    return centroid + torch.tensor([left, top])


def misses(sample, reach):
    """Found less expected place, px, of every dot that is said to be visible and lies well inside."""
    places = [
        (found(sample.video[t], sample.tracks[t, n], reach), sample.tracks[t, n])
        for t, n in sample.visible.nonzero().tolist()
    ]
    return torch.stack([there - xy for there, xy in places if there is not None])
