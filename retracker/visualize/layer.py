"""A sheet of antialiased marks at sub-pixel positions, laid onto an image in one go."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from retracker.visualize.palette import Colour
from retracker.visualize.strokes import Strokes, rasterise, rimmed

FAR_PX = 30_000.0  # positions beyond it are as good as there
RIM = 0.3  # of a mark, as a share of its radius
RIM_OPACITY = 0.7
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

    def strokes(self, strokes: Strokes, rim: float | int = 0) -> None:
        """Draw many strokes at once, with a rim of some px; where they cross, the most opaque counts."""
        for ink in rasterise(strokes, *self._opacity.shape, rim=rim):
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
        self._round(xy, colour, radius, rim, lambda distance: radius - distance)

    def ring(self, xy: Position, radius: float, colour: Colour) -> None:
        """Draw a hollow circle with a fine rim on both sides."""
        half, rim = max(0.5, 0.17 * radius), max(0.8, 0.6 * RIM * radius)
        self._round(xy, colour, radius + half, rim, lambda distance: half - np.abs(distance - radius))

    def onto(self, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
        """A copy of ``image`` with the layer on top."""
        marked = np.flatnonzero(self._opacity)
        clear = 1 - self._opacity.ravel()[marked, None]
        result = image.copy()
        pixels = result.reshape(-1, 3)  # h * w 3, the same memory
        laid = pixels[marked] * clear + self._ink.reshape(-1, 3)[marked]
        pixels[marked] = laid.round().clip(0, 255)
        return result

    def _round(
        self,
        xy: Position,
        colour: Colour,
        radius: float,
        rim: float,
        depth: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """A round mark and its rim; ``depth``: how far inside it one is at a distance from the centre, px."""
        height, width = self._opacity.shape
        x, y = (min(max(float(v), -FAR_PX), FAR_PX) for v in xy)
        reach = radius + rim + 1
        left, right = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        top, bottom = max(0, int(y - reach)), min(height, int(y + reach) + 1)
        if left >= right or top >= bottom:
            return
        away = np.hypot(np.arange(left, right) + (0.5 - x), (np.arange(top, bottom) + (0.5 - y))[:, None])
        inside = depth(away) + 0.5
        core, around = inside.clip(0, 1), RIM_OPACITY * (inside + rim).clip(0, 1)
        tint = np.array(colour, float)
        self._over((slice(top, bottom), slice(left, right)), *rimmed(core, around, tint))

    def _over(self, where: tuple, opacity: np.ndarray, ink: np.ndarray) -> None:
        """Lay ink, multiplied by its opacity, over what is there."""
        clear = (1 - opacity).astype(np.float32)
        self._ink[where] = self._ink[where] * clear[..., None] + ink
        self._opacity[where] = self._opacity[where] * clear + opacity
