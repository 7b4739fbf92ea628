"""A sheet of antialiased marks at sub-pixel positions, laid onto an image in one go."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from retracker.visualize.strokes import Strokes, rasterise

FAR_PX = 30_000.0  # positions beyond it are as good as there
RIM = 0.3  # of a mark, as a share of its radius
RIM_OPACITY = 0.7
INK = (16, 16, 20)
PAPER = (245, 245, 245)
LUMA = np.array([0.299, 0.587, 0.114])
DARK = 105.0  # luma below which a colour needs a light rim to stand out from a dark picture

Colour = tuple[int, int, int]
Position = Sequence[float] | Float[np.ndarray, "2"]  # (x, y), raster px


class Layer:
    """Antialiased marks with opacity, drawn on their own sheet and laid onto an image in one go.

    Its methods draw in place; what comes later lies on top. A mark has a rim that is dark around a light
    colour and light around a dark one, so that it is seen on any picture.
    """

    def __init__(self, height: int, width: int) -> None:
        self._ink = np.zeros((height, width, 3), np.float32)  # multiplied by its opacity
        self._opacity = np.zeros((height, width), np.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._opacity.shape

    def strokes(self, strokes: Strokes) -> None:
        """Draw many strokes at once; where they cross, the most opaque counts."""
        for ink in rasterise(strokes, *self._opacity.shape):
            self._over((ink.row, ink.column), ink.opacity, ink.colour)

    def line(
        self,
        ends: Sequence[Position] | Float[np.ndarray, "2 2"],
        colour: Colour,
        thickness: float | int,
        opacity: float,
    ) -> None:
        """Draw a segment between two positions (raster px)."""
        start, end = (np.asarray(xy, float)[None] for xy in ends)
        both = np.ones((1, 2))
        tint = both[..., None] * np.array(colour, float)
        self.strokes(
            Strokes(start=start, end=end, radius=both * thickness / 2, opacity=both * opacity, colour=tint)
        )

    def dot(self, xy: Position, radius: float, colour: Colour) -> None:
        """Draw a filled disc with a rim."""
        rim = max(0.8, RIM * radius)
        self._round(xy, radius + rim, -1.0, _rim(colour), RIM_OPACITY)
        self._round(xy, radius, -1.0, colour, 1.0)

    def ring(self, xy: Position, radius: float, colour: Colour) -> None:
        """Draw a hollow circle with a fine rim on both sides."""
        half, rim = max(0.5, 0.17 * radius), max(0.8, 0.6 * RIM * radius)
        self._round(xy, radius + half + rim, radius - half - rim, _rim(colour), RIM_OPACITY)
        self._round(xy, radius + half, radius - half, colour, 0.95)

    def onto(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of ``image`` with the layer on top."""
        marked = self._opacity > 0
        result = image.copy()
        clear = 1 - self._opacity[marked, None]
        result[marked] = (image[marked] * clear + self._ink[marked]).round().clip(0, 255)
        return result

    def _round(self, xy: Position, outer: float, inner: float, colour: Colour, opacity: float) -> None:
        """What lies between two circles about a position; all of the disc if the inner radius is negative."""
        height, width = self._opacity.shape
        x, y = (float(np.clip(v, -FAR_PX, FAR_PX)) for v in xy)
        reach = outer + 1
        columns = np.arange(max(0, int(x - reach)), min(width, int(x + reach) + 1))
        rows = np.arange(max(0, int(y - reach)), min(height, int(y + reach) + 1))
        if not len(columns) or not len(rows):
            return
        distance = np.hypot(columns + 0.5 - x, (rows + 0.5 - y)[:, None])
        share = (outer - distance + 0.5).clip(0, 1)
        if inner >= 0:
            share *= (distance - inner + 0.5).clip(0, 1)
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        self._over(box, opacity * share, np.array(colour, np.float32))

    def _over(self, where: tuple, opacity: np.ndarray, colour: np.ndarray) -> None:
        opacity = opacity.astype(np.float32)
        clear = 1 - opacity
        self._ink[where] = self._ink[where] * clear[..., None] + opacity[..., None] * colour
        self._opacity[where] = self._opacity[where] * clear + opacity


def rim_colours(colours: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Dark for a light colour, light for a dark one."""
    light = colours @ LUMA > DARK
    return np.where(light[..., None], np.array(INK, float), np.array(PAPER, float))


def _rim(colour: Colour) -> Colour:
    return tuple(rim_colours(np.array(colour, float)).astype(int).tolist())
