"""Tracks as matches: a frame on the left, the present one on the right, lines between their points."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from retracker.visualize.canvas import beside, mark_size, text, to_image
from retracker.visualize.colouring import SHADES, View
from retracker.visualize.layer import Layer
from retracker.visualize.legend import with_legend
from retracker.visualize.strokes import Strokes
from retracker.visualize.tracks import TrackPainter, add_marks

GAP_PX = 6
MOST_LINES = 80  # more hide the pictures
LINE_OPACITY = 0.75


class MatchLines:
    """Draws lines from a reference frame of a video to each other one.

    Points are those that are visible in the reference; of more than ``MOST_LINES`` a selection. ``numbers``
    are what frames are called; their positions, if not given.
    """

    def __init__(
        self,
        painter: TrackPainter,
        reference: UInt8[Tensor, "3 H W"],
        reference_t: int,
        numbers: Sequence[int] | None = None,
    ) -> None:
        self.painter, self.reference_t = painter, reference_t
        self._numbers = range(len(painter.scene.tracks)) if numbers is None else numbers
        self._reference = painter.background(reference)
        known = np.flatnonzero(painter.scene.visible[reference_t])
        # Any ones, lest a grid of them leave stripes, but always the same.
        chosen = np.sort(np.random.default_rng(0).permutation(len(known))[:MOST_LINES])
        self.points = known[chosen]

    def draw(self, image: UInt8[Tensor, "3 H W"], t: int) -> UInt8[Tensor, "3 high wide"]:
        """The reference, the video's frame ``t`` and the lines between them."""
        painter, scene = self.painter, self.painter.scene
        views = (self._reference, painter.background(image))
        height, width = views[0].shape[:2]
        shade = SHADES[painter.style.colour]
        colours = shade(scene, View(oldest=t, now=t, height=height, width=width))[0, self.points]
        canvas = beside(views, GAP_PX)
        shift = np.array([width + GAP_PX, 0.0])
        seen = scene.visible[t, self.points]
        both = self.points[seen]
        radius = painter.style.size * mark_size(height, width)
        layer = Layer(*canvas.shape[:2])
        starts, ends = scene.tracks[self.reference_t], scene.tracks[t] + shift
        layer.strokes(_lines(starts[both], ends[both], colours[seen], radius))
        canvas = layer.onto(canvas)
        for left, time, marked in ((0, self.reference_t, np.ones_like(seen)), (width + GAP_PX, t, seen)):
            marks = Layer(height, width)
            places = scene.tracks[time, self.points]
            add_marks(marks, places, marked, colours, radius, hidden=painter.style.hidden)
            view = canvas[:, left : left + width]
            view[:] = _numbered(marks.onto(view), self._numbers[time])
        return to_image(with_legend(canvas, painter.scale) if painter.scale else canvas)


def reference_frame(painter: TrackPainter) -> int:
    """The first of the frames in which most points are born."""
    first = painter.scene.first[painter.scene.first < len(painter.scene.tracks)]
    return int(np.bincount(first).argmax()) if len(first) else 0


def _lines(start: np.ndarray, end: np.ndarray, colours: np.ndarray, radius: float) -> Strokes:
    both = np.ones((len(start), 2))
    return Strokes(
        start=start,
        end=end,
        radius=both * max(0.6, 0.2 * radius),
        opacity=LINE_OPACITY * both,
        colour=both[..., None] * colours[:, None],
    )


def _numbered(picture: np.ndarray, t: int) -> np.ndarray:
    size = max(12.0, 0.05 * len(picture))
    return text(picture, (size / 2, size / 2), f"frame {t}", size)
