"""Tracks drawn on their video: coloured marks, fading trails, hidden points hollow or left out."""

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.visualize.canvas import dim, enlarge, mark_size, to_array, to_image
from retracker.visualize.colouring import SCALES, SHADES, Scale, View
from retracker.visualize.layer import Layer
from retracker.visualize.legend import with_legend
from retracker.visualize.scene import scene_of
from retracker.visualize.strokes import Strokes
from retracker.visualize.style import TrackStyle

HEAD, TAIL = 0.42, 0.16  # half the width of a trail at its newest and at its oldest end, in radii of a mark
STRONGEST = 0.9  # opacity of a trail's newest end
FAINTEST = 0.3  # opacity of the oldest end of a trail that goes back to birth; others fade away
SHORTEST_PX = 0.05  # what moves less leaves no trail


class TrackPainter:
    """Draws one set of tracks, frame by frame, so that a long video need not be in memory.

    A point is not drawn before its ``first_frame``. ``anchors`` (raster px) are where points take their own
    colours from: their places at birth, if not given.
    """

    def __init__(
        self,
        tracks: Float[Tensor, "T N 2"],
        visible: Bool[Tensor, "T N"],
        first_frame: Int[Tensor, " N"] | None = None,
        style: TrackStyle | None = None,
        confidence: Float[Tensor, "T N"] | None = None,
        anchors: Float[Tensor, "N 2"] | None = None,
    ) -> None:
        self.style = style or TrackStyle()
        if self.style.colour == "confidence" and confidence is None:
            raise ValueError("colour by confidence: expected confidence beside the tracks, got none")
        self.scene = scene_of(
            tracks,
            visible,
            first_frame,
            confidence,
            anchors,
            zoom=self.style.zoom,
            compensate=self.style.compensate,
        )

    def draw(self, image: UInt8[Tensor, "3 H W"], t: int) -> UInt8[Tensor, "3 h w"]:
        """The video's frame ``t``, enlarged by the style's zoom, with every point that is born by then."""
        canvas = self.background(image)
        layer = Layer(*canvas.shape[:2])
        self.add(layer, t)
        drawn = layer.onto(canvas)
        return to_image(with_legend(drawn, self.scale) if self.scale else drawn)

    def background(self, image: UInt8[Tensor, "3 H W"]) -> UInt8[np.ndarray, "h w 3"]:
        """A frame as it lies below the marks."""
        return dim(enlarge(to_array(image), self.style.zoom), self.style.dimming)

    @cached_property
    def scale(self) -> Scale | None:
        """What the colours mean, if that is to be told."""
        make = SCALES.get(self.style.colour) if self.style.legend else None
        return make(self.scene, self.style.trail) if make else None

    def add(self, layer: Layer, t: int) -> None:
        """Draw the points of frame ``t`` and their trails."""
        height, width = layer.size
        reach = t if self.style.trail is None else self.style.trail
        oldest = min(t, max(t - reach, self.scene.first.min(initial=t), 0))
        view = View(oldest=int(oldest), now=t, height=height, width=width)
        colours = SHADES[self.style.colour](self.scene, view)  # K N 3
        radius = self.style.size * mark_size(height, width)
        self._add_trails(layer, view, colours, radius)
        born = self.scene.first <= t
        places, visible = self.scene.tracks[t, born], self.scene.visible[t, born]
        add_marks(layer, places, visible, colours[-1, born], radius, hidden=self.style.hidden)

    def _add_trails(
        self, layer: Layer, view: View, colours: Float[np.ndarray, "K N 3"], radius: float
    ) -> None:
        if view.oldest == view.now:
            return
        scene, frames = self.scene, view.frames
        paths = np.stack([scene.brought(s, view.now) for s in frames.tolist()])  # K N 2
        steps = np.hypot(*(paths[1:] - paths[:-1]).transpose(2, 0, 1))
        seen = scene.visible[frames[:-1]] & scene.visible[frames[1:]] & (steps > SHORTEST_PX)
        if self.style.hidden == "skip":
            seen &= scene.visible[view.now]
        when, who = np.nonzero(seen)
        fresh = self._freshness(view)
        ends = np.stack([when, when + 1], axis=1)  # of each stroke, in frames of the view
        faint = FAINTEST if self.style.trail is None else 0.0
        trails = Strokes(
            start=paths[when, who],
            end=paths[when + 1, who],
            radius=radius * (TAIL + (HEAD - TAIL) * fresh)[ends],
            opacity=STRONGEST * (faint + (1 - faint) * fresh)[ends],
            colour=colours[ends, who[:, None]],
        )
        layer.strokes(trails, rim=max(0.6, 0.15 * radius))  # sets them off from a picture of their own colour

    def _freshness(self, view: View) -> Float[np.ndarray, " K"]:
        """From 0 beyond the trail's end to 1 for now."""
        reach = view.now - view.oldest if self.style.trail is None else self.style.trail
        return 1 - (view.now - view.frames) / (reach + 1)


def draw_tracks(
    video: UInt8[Tensor, "T 3 H W"],
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    *,
    first_frame: Int[Tensor, " N"] | None = None,
    trail: int | None = 12,
    dimming: float = 0.25,
) -> UInt8[Tensor, "T 3 H W"]:
    """A copy of the video with the tracks (raster px) on every frame; a hidden point is hollow."""
    painter = TrackPainter(tracks, visible, first_frame, TrackStyle(trail=trail, dimming=dimming))
    return torch.stack([painter.draw(frame, t) for t, frame in enumerate(video)])


def add_marks(
    layer: Layer,
    places: Float[np.ndarray, "n 2"],
    visible: Bool[np.ndarray, " n"],
    colours: Float[np.ndarray, "n 3"],
    radius: float,
    *,
    hidden: str,
) -> None:
    """A mark at each place, those of visible points on top; ``hidden`` as in a style."""
    shown = np.flatnonzero(visible | (hidden != "skip"))
    for n in shown[np.argsort(visible[shown], kind="stable")]:
        mark = layer.dot if visible[n] or hidden == "dot" else layer.ring
        mark(places[n], radius, tuple(colours[n].round().astype(int).tolist()))
