"""Trees of few pixels, written by hand, for what a renderer never makes."""

import numpy as np
from PIL import Image


def write_pictures(folder, names, height=6, width=8):
    """Frames that are told apart by their grey level: 10 times their place in ``names``."""
    folder.mkdir(parents=True, exist_ok=True)
    for t, name in enumerate(names):
        Image.fromarray(np.full((height, width, 3), 10 * t, np.uint8)).save(folder / name)


def two_points(num_frames=3):
    """Positions (T,2,2): one stands still, one moves by a pixel a frame."""
    tracks = np.full((num_frames, 2, 2), 2.25)
    tracks[:, 1, 0] += np.arange(num_frames)
    return tracks
