"""What every benchmark of pairs does with an answer: it is stored, and drawn."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Matched
from retracker.benchmarks.resizing import Resize
from retracker.geometry.coords import rescale
from retracker.media.image import write_image
from retracker.visualize.matches import draw_matches

DRAWN = Resize(side="long", px=640, rounding="nearest", multiple=1, filter="area")  # what pictures show


@runtime_checkable
class Pair(Protocol):
    """What all items of such benchmarks have."""

    image0: UInt8[Tensor, "3 H0 W0"]
    image1: UInt8[Tensor, "3 H1 W1"]
    name: str


def match_arrays(pair: Pair, answer: Matched) -> Mapping[str, np.ndarray]:
    """Matches (M,2) in px of the stored images, and their confidence."""
    return {
        "pair_name": np.array(pair.name),
        "points0": answer.points0.numpy(),
        "points1": answer.points1.numpy(),
        "confidence": answer.confidence.numpy(),
        "size0": np.array(pair.image0.shape[-2:]),
        "size1": np.array(pair.image1.shape[-2:]),
    }


def draw_matched(pair: Pair, answer: Matched, right: Float[Tensor, " M"], path: Path, legend: str) -> Path:
    """A png with a line for each match, red for 0 over yellow to green for 1: how ``right`` it is.

    ``path`` has no suffix yet. Returns the file.
    """
    images = (pair.image0, pair.image1)
    small = [DRAWN(image) for image in images]
    points = [
        rescale(xy, tuple(image.shape[-2:]), tuple(drawn.shape[-2:]))
        for xy, image, drawn in zip((answer.points0, answer.points1), images, small, strict=True)
    ]
    picture = draw_matches(*small, *points, right, legend=legend)
    write_image(path.with_suffix(".png"), picture)
    return path.with_suffix(".png")
