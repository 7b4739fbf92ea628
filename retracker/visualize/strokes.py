"""Strokes with round ends whose width, colour and opacity run from one end to the other, exact below a pixel.

A pixel's share of ink follows from the distance of its centre to the stroke, so that there are no steps in
widths or positions. Of strokes that cross, a pixel takes the strongest: joints and crossings do not darken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

PIECE_PX = 24.0  # a long slanting stroke is cut into pieces: its own box would be mostly empty
PIECES_AT_ONCE = 4096  # bounds memory


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """Straight strokes; axis 1 of ``radius``, ``opacity`` and ``colour`` is start and end."""

    start: Float[np.ndarray, "n 2"]  # raster px
    end: Float[np.ndarray, "n 2"]
    radius: Float[np.ndarray, "n 2"]  # px, half the width
    opacity: Float[np.ndarray, "n 2"]  # 0..1
    colour: Float[np.ndarray, "n 2 3"]  # 0..255

    def __len__(self) -> int:
        return len(self.start)

    def take(self, index: np.ndarray | slice) -> "Strokes":
        """Some of the strokes."""
        return Strokes(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Ink:
    """What strokes leave on a picture: one entry per pixel that they touch."""

    row: Int[np.ndarray, " k"]
    column: Int[np.ndarray, " k"]
    opacity: Float[np.ndarray, " k"]
    colour: Float[np.ndarray, "k 3"]


def rasterise(strokes: Strokes, height: int, width: int) -> Iterator[Ink]:
    """The ink of all strokes, in batches to be laid over one another: of a pixel, the last entry counts."""
    pieces = _cut(_clip(strokes, height, width))
    for first in range(0, len(pieces), PIECES_AT_ONCE):
        some = pieces.take(slice(first, first + PIECES_AT_ONCE))
        yield _strongest(_touched(some, height, width), height * width, width)


def _clip(strokes: Strokes, height: int, width: int) -> Strokes:
    """What lies in the picture or close to it (Liang and Barsky), so that no stroke is endless."""
    margin = 2.0 + strokes.radius.max(initial=0.0)
    along = strokes.end - strokes.start
    still = along == 0
    safe = np.where(still, 1.0, along)
    near = (np.array([-margin, -margin]) - strokes.start) / safe
    far = (np.array([width + margin, height + margin]) - strokes.start) / safe
    inside = (strokes.start > -margin) & (strokes.start < np.array([width + margin, height + margin]))
    enter = np.where(still, np.where(inside, 0.0, np.inf), np.minimum(near, far)).max(1).clip(min=0.0)
    leave = np.where(still, np.inf, np.maximum(near, far)).min(1).clip(max=1.0)
    kept = enter <= leave
    return _parts(strokes.take(kept), enter[kept], leave[kept])


def _cut(strokes: Strokes) -> Strokes:
    """The same strokes in pieces of a few px."""
    length = np.hypot(*(strokes.end - strokes.start).T)
    count = np.maximum(1, np.ceil(length / PIECE_PX)).astype(int)
    which = np.repeat(np.arange(len(strokes)), count)
    number = np.arange(len(which)) - np.repeat(count.cumsum() - count, count)
    return _parts(strokes.take(which), number / count[which], (number + 1) / count[which])


def _parts(strokes: Strokes, lower: np.ndarray, upper: np.ndarray) -> Strokes:
    """Of each stroke what lies between two shares of its length."""

    def between(ends: np.ndarray) -> np.ndarray:
        shares = np.stack([lower, upper], axis=1).reshape(-1, 2, *[1] * (ends.ndim - 2))
        return ends[:, :1] + shares * (ends[:, 1:] - ends[:, :1])

    places = between(np.stack([strokes.start, strokes.end], axis=1))
    return Strokes(
        start=places[:, 0],
        end=places[:, 1],
        radius=between(strokes.radius),
        opacity=between(strokes.opacity),
        colour=between(strokes.colour),
    )


def _touched(pieces: Strokes, height: int, width: int) -> Ink:
    """Every pixel of every piece, those of the last piece at the end."""
    reach = pieces.radius.max(1, keepdims=True) + 1.0
    limit = np.array([width, height])
    low = np.floor(np.minimum(pieces.start, pieces.end) - reach).clip(0, limit).astype(int)
    high = np.ceil(np.maximum(pieces.start, pieces.end) + reach).clip(0, limit).astype(int)
    extent = high - low
    area = extent.prod(1)
    which = np.repeat(np.arange(len(pieces)), area)
    number = np.arange(len(which)) - np.repeat(area.cumsum() - area, area)
    down, right = np.divmod(number, extent[which, 0])
    column, row = low[which, 0] + right, low[which, 1] + down
    x, y = column + 0.5 - pieces.start[which, 0], row + 0.5 - pieces.start[which, 1]
    along = pieces.end - pieces.start
    run, rise = (along / np.maximum((along**2).sum(1, keepdims=True), 1e-12))[which].T  # 1 / px
    share = (x * run + y * rise).clip(0, 1)
    distance = np.hypot(x - share * along[which, 0], y - share * along[which, 1])
    kept = np.flatnonzero(distance < reach[which, 0] - 0.5)
    which, share, distance, column, row = (v[kept] for v in (which, share, distance, column, row))
    coverage = (_at(pieces.radius, which, share) - distance + 0.5).clip(0, 1)
    return Ink(
        row=row,
        column=column,
        opacity=coverage * _at(pieces.opacity, which, share),
        colour=_at(pieces.colour, which, share[:, None]),
    )


def _at(ends: np.ndarray, which: np.ndarray, share: np.ndarray) -> np.ndarray:
    return ends[which, 0] + share * (ends[which, 1] - ends[which, 0])


def _strongest(ink: Ink, num_pixels: int, width: int) -> Ink:
    """For each pixel its most opaque entry; of equal ones all, in their order."""
    pixel = ink.row * width + ink.column
    best = np.zeros(num_pixels, ink.opacity.dtype)
    np.maximum.at(best, pixel, ink.opacity)
    kept = np.flatnonzero(ink.opacity == best[pixel])
    return Ink(row=ink.row[kept], column=ink.column[kept], opacity=ink.opacity[kept], colour=ink.colour[kept])
