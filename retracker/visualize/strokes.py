"""Strokes with round ends whose width, colour and opacity run from one end to the other, exact below a pixel.

A pixel's share of ink follows from the distance of its centre to the stroke, so that there are no steps in
widths or positions. Of strokes that cross, a pixel takes the strongest: joints and crossings do not darken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Int

from retracker.visualize.palette import rim_colours

PIECE_PX = 24.0  # a long slanting stroke is cut into pieces: its own box would be mostly empty
RIM_OPACITY = 0.4  # of a stroke's rim, times that of the stroke
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
    colour: Float[np.ndarray, "k 3"]  # multiplied by the opacity


def rasterise(strokes: Strokes, height: int, width: int, *, rim: float | int = 0) -> Iterator[Ink]:
    """The ink of all strokes, in batches to be laid over one another: of a pixel, the last entry counts."""
    pieces = _cut(_clip(strokes, height, width))
    for first in range(0, len(pieces), PIECES_AT_ONCE):
        some = pieces.take(slice(first, first + PIECES_AT_ONCE))
        yield _touched(some, height, width, rim)


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


def rimmed(
    core: Float[np.ndarray, "*B"], rim: Float[np.ndarray, "*B"], colour: Float[np.ndarray, "*#B 3"]
) -> tuple[Float[np.ndarray, "*B"], Float[np.ndarray, "*B 3"]]:
    """Opacity, and colour multiplied by it, of marks over their rims, which stand out from them."""
    around = rim * (1 - core)
    return core + around, core[..., None] * colour + around[..., None] * rim_colours(colour)


def _touched(pieces: Strokes, height: int, width: int, rim: float | int) -> Ink:
    """The ink of some pieces, of which the most opaque has the pixel; of equal ones the last."""
    reach = pieces.radius.max(1, keepdims=True) + rim + 0.5
    limit = np.array([width, height])
    low = np.floor(np.minimum(pieces.start, pieces.end) - reach).clip(0, limit).astype(int)
    high = np.ceil(np.maximum(pieces.start, pieces.end) + reach).clip(0, limit).astype(int)
    extent = high - low
    area = extent.prod(1)
    which = np.repeat(np.arange(len(pieces)), area)
    number = np.arange(len(which)) - np.repeat(area.cumsum() - area, area)
    down, right = np.divmod(number, extent[:, 0].take(which))
    share, depth = _shares(pieces, low, which, right, down)
    opacity = _between(pieces.opacity, which, share)
    core, around = opacity * depth.clip(0, 1), RIM_OPACITY * opacity * (depth + rim).clip(0, 1)
    pixel = (low[:, 1].take(which) + down) * width + low[:, 0].take(which) + right
    total = core + (around * (1 - core) if rim else 0)
    best = np.zeros(height * width, np.float32)
    np.maximum.at(best, pixel, total)
    won = np.flatnonzero((total > 0) & (total == best.take(pixel)))
    colour = _between(pieces.colour, which[won], share[won, None])
    opacity, ink = rimmed(core[won], around[won] if rim else np.zeros_like(core[won]), colour)
    row, column = np.divmod(pixel[won], width)
    return Ink(row=row, column=column, opacity=opacity, colour=ink)


def _shares(
    pieces: Strokes, low: np.ndarray, which: np.ndarray, right: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far along its piece each pixel of the pieces' boxes lies, 0..1, and how deep inside, px + 0.5."""
    # Places within a piece's own box: single precision holds them to 1e-5 px.
    corner = low + 0.5 - pieces.start
    along = pieces.end - pieces.start
    slope = along / np.maximum((along**2).sum(1, keepdims=True), 1e-12)  # 1 / px
    table = np.concatenate([corner, along, slope], axis=1).astype(np.float32).T
    left, top, run, rise, slope_x, slope_y = (row.take(which) for row in table)
    x, y = right + left, down + top
    share = (x * slope_x + y * slope_y).clip(0, 1).astype(np.float32)
    distance = np.hypot(x - share * run, y - share * rise).astype(np.float32)
    return share, _between(pieces.radius, which, share) - distance + np.float32(0.5)


def _between(ends: np.ndarray, which: np.ndarray, share: np.ndarray) -> np.ndarray:
    ends = ends.astype(np.float32)
    return ends[:, 0].take(which, axis=0) + share * (ends[:, 1] - ends[:, 0]).take(which, axis=0)
