"""Teachers and films whose answers are known beforehand."""

import cv2
import numpy as np
import torch

from retracker.benchmarks.protocol import Tracked
from retracker.media.video import write_video

SIDE = 256  # px: a clip of this size has a scale of 1


def blank(num_frames, side=SIDE):
    return torch.zeros(num_frames, 3, side, side, dtype=torch.uint8)


def numbered(num_frames):
    """A clip whose frames are as bright as their number."""
    return blank(num_frames) + torch.arange(num_frames, dtype=torch.uint8)[:, None, None, None]


def teacher(place, seen=None, confidence=1.0):
    """A tracker that says of a query (t, x, y) that in frame s of its video it is at ``place(query, s)``."""

    def track(video, queries):
        tracks = torch.zeros(len(video), len(queries), 2)
        visible = torch.zeros(len(video), len(queries), dtype=torch.bool)
        for n, query in enumerate(queries.tolist()):
            for s in range(len(video)):
                tracks[s, n] = torch.tensor(place(query, s))
                visible[s, n] = s >= query[0] and (seen is None or seen(query, s))
        return Tracked(tracks=tracks, visible=visible, confidence=visible.float() * confidence)

    return track


def stays(query, _):
    return query[1:]


def texture(height, width, seed=0):
    """Soft coloured noise of several scales, H W 3."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width, 3), np.float32)
    for cell in (4, 8, 16):
        small = rng.standard_normal((height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        total += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 40 * total, 0, 255).astype(np.uint8)


def pan(num_frames, size=(64, 80), step=1, seed=0):
    """A view that slides over a texture by ``step`` px a frame, T 3 H W."""
    height, width = size
    picture = texture(height, width + step * num_frames, seed)
    frames = [picture[:, t * step : t * step + width] for t in range(num_frames)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def film(path, *shots):
    """A film of shots, one after the other."""
    write_video(path, torch.cat(shots), fps=10)
    return path
