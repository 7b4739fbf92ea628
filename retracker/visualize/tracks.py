"""Tracks drawn on their video: a colour per point, fading trails, hidden points hollow."""

from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.visualize.canvas import (
    Colour,
    Layer,
    dim,
    enlarge,
    mark_size,
    rainbow,
    text,
    to_array,
    to_image,
)

READABLE_PX = 256  # a side-by-side picture is enlarged until it is at least this high
GAP_PX = 6  # between pictures side by side
ERROR_COLOUR: Colour = (255, 56, 56)


@dataclass(frozen=True, kw_only=True)
class TrackStyle:
    """How tracks are drawn."""

    trail: int = 12  # how many past frames a trail reaches back; 0 draws none
    dimming: float = 0.25  # how far the video is faded behind the marks, 0..1
    zoom: int = 1  # the picture is enlarged by this before anything is drawn


class TrackPainter:
    """Draws one set of tracks, frame by frame, so that a long video need not be in memory.

    A point's colour follows the position it is born at; it is not drawn before its ``first_frame``.
    """

    def __init__(
        self,
        tracks: Float[Tensor, "T N 2"],
        visible: Bool[Tensor, "T N"],
        first_frame: Int[Tensor, " N"] | None = None,
        style: TrackStyle | None = None,
    ) -> None:
        self.style = style or TrackStyle()
        self.tracks = tracks.detach().cpu().double().numpy() * self.style.zoom
        self.visible = visible.detach().cpu().numpy()
        num_points = self.tracks.shape[1]
        self.first = np.zeros(num_points, int) if first_frame is None else first_frame.cpu().numpy()

    def draw(self, image: UInt8[Tensor, "3 H W"], t: int) -> UInt8[Tensor, "3 h w"]:
        """The video's frame ``t``, enlarged by the style's zoom, with every point that is born by then."""
        canvas = dim(enlarge(to_array(image), self.style.zoom), self.style.dimming)
        height, width = canvas.shape[:2]
        radius, colours = mark_size(height, width), self._colours(height, width)
        layer = Layer(height, width)
        self._add_trails(layer, t, colours, thickness=max(1, round(0.7 * radius)))
        born = np.flatnonzero(self.first <= t)
        for n in born[np.argsort(self.visible[t, born], kind="stable")]:  # visible points on top
            mark = layer.dot if self.visible[t, n] else layer.ring
            mark(self.tracks[t, n], radius, colours[n])
        return to_image(layer.onto(canvas))

    def _colours(self, height: int, width: int) -> list[Colour]:
        birth = self.first.clip(max=len(self.tracks) - 1)
        return rainbow(self.tracks[birth, np.arange(len(birth))], height, width)

    def _add_trails(self, layer: Layer, t: int, colours: list[Colour], *, thickness: int) -> None:
        for age in range(min(self.style.trail, t), 0, -1):  # oldest first, so that the newest lies on top
            opacity = 0.85 * (1 - age / (self.style.trail + 1))
            ends = self.tracks[t - age : t - age + 2]
            seen = self.visible[t - age : t - age + 2].all(0) & (self.first <= t - age)
            for n in np.flatnonzero(seen):
                layer.line(ends[:, n], colours[n], thickness, opacity)


def draw_tracks(
    video: UInt8[Tensor, "T 3 H W"],
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    *,
    first_frame: Int[Tensor, " N"] | None = None,
    trail: int = 12,
    dimming: float = 0.25,
) -> UInt8[Tensor, "T 3 H W"]:
    """A copy of the video with the tracks (raster px) on every frame; a hidden point is hollow."""
    painter = TrackPainter(tracks, visible, first_frame, TrackStyle(trail=trail, dimming=dimming))
    return torch.stack([painter.draw(frame, t) for t, frame in enumerate(video)])


def draw_side_by_side(
    video: UInt8[Tensor, "T 3 H W"],
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    true_tracks: Float[Tensor, "T N 2"],
    true_visible: Bool[Tensor, "T N"],
    *,
    first_frame: Int[Tensor, " N"] | None = None,
    trail: int = 12,
) -> UInt8[Tensor, "T 3 high wide"]:
    """Prediction on the left, a red line leading from each point to its true place; truth on the right."""
    style = TrackStyle(trail=trail, zoom=max(1, ceil(READABLE_PX / video.shape[-2])))
    painters = (
        TrackPainter(tracks, visible, first_frame, style),
        TrackPainter(true_tracks, true_visible, first_frame, style),
    )
    return torch.stack([_beside(*painters, frame, t) for t, frame in enumerate(video)])


def _beside(left: TrackPainter, right: TrackPainter, frame: Tensor, t: int) -> UInt8[Tensor, "3 high wide"]:
    predicted, true = (to_array(painter.draw(frame, t)) for painter in (left, right))
    predicted = _error_lines(left, right, t, *predicted.shape[:2]).onto(predicted)
    size = max(12.0, 0.05 * len(predicted))
    titled = [text(p, (size / 2, size / 2), w, size) for p, w in ((predicted, "prediction"), (true, "truth"))]
    gap = np.full((len(predicted), GAP_PX, 3), 255, np.uint8)
    return to_image(np.concatenate([titled[0], gap, titled[1]], axis=1))


def _error_lines(left: TrackPainter, right: TrackPainter, t: int, height: int, width: int) -> Layer:
    layer = Layer(height, width)
    thickness = max(1, round(mark_size(height, width) / 3))
    for n in np.flatnonzero(right.visible[t] & (left.first <= t)):
        layer.line((left.tracks[t, n], right.tracks[t, n]), ERROR_COLOUR, thickness, 0.95)
    return layer
