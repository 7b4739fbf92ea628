"""A film as a block of space and time, seen from the side: some of its frames stand behind one another as
sheets, and the points' paths run from one to the next. What papers show on their first page."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.visualize.canvas import mark_size, to_image
from retracker.visualize.colouring import SHADES, View
from retracker.visualize.layer import Layer
from retracker.visualize.legend import with_legend
from retracker.visualize.strokes import Strokes
from retracker.visualize.tracks import TrackPainter, add_marks

TURNS = (0.0, 80.0)  # degrees that can be looked at: at 90, sheets are lines
DEPTH = 2.0  # of the block along time, in longer sides of a frame
AWAY = 6.0  # of the eye from its middle, in the same
TILT = 10.0  # degrees from which one looks down
MARGIN_PX = 16
FINER = 2  # sheets are drawn at so many times the size, and then averaged
STEPS = 120  # of a path between two sheets, at most: more would lie within a pixel
PATH, FAINT = 0.45, 0.25  # of a path: half its width in radii of a mark; how faint it is where it is hidden
EDGE, EDGE_COLOUR = 0.6, (96.0, 96.0, 104.0)  # of sheets: half the width, px


@dataclass(frozen=True, kw_only=True)
class Eye:
    """From where the block is seen, and how what is seen comes onto the picture."""

    turn: float  # degrees about the vertical axis: at 0 one looks along time
    zoom: float = 1.0  # px of the picture that a unit takes in the block's middle
    middle: tuple[float, float] = (0.0, 0.0)  # px of the picture: where that is

    def __post_init__(self) -> None:
        if not TURNS[0] <= self.turn <= TURNS[1]:
            raise ValueError(f"turn: expected {TURNS[0]:g} to {TURNS[1]:g} degrees, got {self.turn:g}")

    @property
    def time(self) -> float:
        """Where the eye is along time, in units of the block."""
        return -AWAY * cos(radians(self.turn)) * cos(radians(TILT))

    def see(self, places: Float[np.ndarray, "*B 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Places (x, y, time) in the picture (px, ``*B 2``), and the px that a unit takes there (``*B``)."""
        yaw, pitch = radians(self.turn), radians(TILT)
        x, y, time = places[..., 0], places[..., 1], places[..., 2]
        across, along = x * cos(yaw) + time * sin(yaw), time * cos(yaw) - x * sin(yaw)
        down, far = y * cos(pitch) - along * sin(pitch), along * cos(pitch) + y * sin(pitch)
        scale = self.zoom * AWAY / (AWAY + far)
        return np.stack([across, down], axis=-1) * scale[..., None] + np.array(self.middle), scale


class SpaceTime:
    """Draws one set of tracks through some frames of its video, from any of a range of turns.

    ``sheets``: frames of the video, at the ``times`` given; paths are drawn from the first of them to the
    last. All pictures have one size, whose longer side is ``longest`` px. Raises ValueError for fewer than
    two sheets, for times that do not rise, and for a painter whose pictures are enlarged.
    """

    def __init__(
        self,
        painter: TrackPainter,
        sheets: UInt8[Tensor, "K 3 H W"],
        times: Sequence[int],
        turns: tuple[float, float],
        longest: int,
    ) -> None:
        if len(times) < 2 or len(sheets) != len(times) or any(np.diff(times) <= 0):
            raise ValueError(f"space and time: expected two frames or more, in order, got {list(times)}")
        if painter.style.zoom != 1:
            raise ValueError(f"space and time: expected a zoom of 1, got {painter.style.zoom}")
        self.painter, self.times = painter, np.asarray(times)
        self._sheets = [painter.background(sheet) for sheet in sheets]
        self._high, self._wide = self._sheets[0].shape[:2]
        self.turns = turns
        self._eye, self.size = self._framed(turns, longest)

    def draw(self, turn: float) -> UInt8[Tensor, "3 h w"]:
        """The block from ``turn`` degrees: what is farther off first, so that sheets hide what is behind.

        Raises ValueError for an angle outside the range that the picture has room for.
        """
        if not self.turns[0] <= turn <= self.turns[1]:
            raise ValueError(f"turn: expected {self.turns[0]:g} to {self.turns[1]:g} degrees, got {turn:g}")
        eye = Eye(turn=turn, zoom=self._eye.zoom, middle=self._eye.middle)
        canvas = np.full((*self.size, 3), 255, np.uint8)
        parts = [(t, self._with_sheet, k) for k, t in self._at]
        parts += [
            ((t + later) / 2, self._with_paths, k)
            for (k, t), (_, later) in zip(self._at[:-1], self._at[1:], strict=True)
        ]
        for _, add, k in sorted(parts, key=lambda part: -abs(part[0] - eye.time)):
            canvas = add(canvas, eye, k)
        scale = self.painter.scale
        return to_image(with_legend(canvas, scale) if scale else canvas)

    @cached_property
    def _at(self) -> list[tuple[int, float]]:
        """Each sheet's number and its time in units of the block."""
        return list(enumerate(self._time(self.times).tolist()))

    def _time(self, frames: Int[np.ndarray, "*B"]) -> Float[np.ndarray, "*B"]:
        first, last = self.times[0], self.times[-1]
        return DEPTH * ((frames - first) / (last - first) - 0.5)

    def _placed(
        self, xy: Float[np.ndarray, "*B 2"], frames: Int[np.ndarray, "*#B"]
    ) -> Float[np.ndarray, "*B 3"]:
        """Raster px at frames, in units of the block: the longer side of a frame is 1."""
        unit = max(self._high, self._wide)
        flat = (xy - np.array([self._wide, self._high]) / 2) / unit
        time = np.broadcast_to(self._time(frames), flat.shape[:-1])
        return np.concatenate([flat, time[..., None]], axis=-1)

    def _corners(self, frame: int) -> Float[np.ndarray, "4 3"]:
        w, h = float(self._wide), float(self._high)
        return self._placed(np.array([[0.0, 0.0], [w, 0.0], [w, h], [0.0, h]]), np.array([frame]))

    def _framed(self, turns: tuple[float, float], longest: int) -> tuple[Eye, tuple[int, int]]:
        """An eye that has the whole block in view from all turns, and the picture's height and width."""
        both_ends = np.concatenate([self._corners(int(self.times[end])) for end in (0, -1)])
        seen = np.concatenate([Eye(turn=turn).see(both_ends)[0] for turn in np.linspace(*turns, 17).tolist()])
        low, high = seen.min(0), seen.max(0)
        zoom = (longest - 2 * MARGIN_PX) / (high - low).max()
        width, height = (2 * np.ceil((zoom * (high - low) + 2 * MARGIN_PX) / 2)).astype(int).tolist()
        x, y = (np.array([width, height]) / 2 - zoom * (low + high) / 2).tolist()
        return Eye(turn=turns[0], zoom=float(zoom), middle=(x, y)), (height, width)

    def _with_sheet(self, canvas: UInt8[np.ndarray, "h w 3"], eye: Eye, index: int) -> np.ndarray:
        """The canvas with one frame, its outline, and the points' marks."""
        frame = int(self.times[index])
        corners, _ = eye.see(self._corners(frame))
        result = _laid(canvas, self._sheets[index], corners)
        layer = Layer(*self.size)
        layer.strokes(_outline(corners))
        scene, style = self.painter.scene, self.painter.style
        shown = (scene.first <= frame) & self._inside(scene.tracks[frame])
        places, units = eye.see(self._placed(scene.tracks[frame, shown], np.array([frame])))
        radius = style.size * self._radius * (float(units.mean()) / eye.zoom if len(units) else 1.0)
        colours = self._colours[frame - self.times[0], shown]
        add_marks(layer, places, scene.visible[frame, shown], colours, radius, hidden=style.hidden)
        return layer.onto(result)

    def _with_paths(self, canvas: UInt8[np.ndarray, "h w 3"], eye: Eye, index: int) -> np.ndarray:
        """The canvas with the ways from one sheet to the next."""
        scene, style = self.painter.scene, self.painter.style
        first, last = self.times[index], self.times[index + 1]
        frames = np.linspace(first, last, min(last - first, STEPS) + 1).round().astype(int)
        inside = self._inside(scene.tracks[frames])  # what is not may lie behind the eye, or nowhere
        tracks = np.where(inside[..., None], scene.tracks[frames], 0.0)
        places, units = eye.see(self._placed(tracks, frames[:, None]))
        seen = scene.visible[frames[:-1]] & scene.visible[frames[1:]]
        drawn = inside[:-1] & inside[1:] & (scene.first <= frames[:-1, None])
        when, who = np.nonzero(drawn & (seen | (style.hidden != "skip")))
        when, who = when[::-1], who[::-1]  # what is later is farther: of strokes that cross, the last counts
        ends = np.stack([when, when + 1], axis=1)
        opacity = np.where(seen | (style.hidden == "dot"), 1.0, FAINT)[when, who]
        width = PATH * style.size * self._radius / eye.zoom
        layer = Layer(*self.size)
        layer.strokes(
            Strokes(
                start=places[when, who],
                end=places[when + 1, who],
                radius=width * units[ends, who[:, None]],
                opacity=np.broadcast_to(opacity[:, None], ends.shape),
                colour=self._colours[frames[ends] - self.times[0], who[:, None]],
            ),
            rim=max(0.6, 0.15 * self._radius),
        )
        return layer.onto(canvas)

    def _inside(self, xy: Float[np.ndarray, "*B 2"]) -> Bool[np.ndarray, "*B"]:
        """Whether raster px lie on a sheet."""
        return ((xy >= 0) & (xy < np.array([self._wide, self._high]))).all(-1)

    @cached_property
    def _colours(self) -> Float[np.ndarray, "K N 3"]:
        """Of the frames from the first sheet to the last."""
        first, last = int(self.times[0]), int(self.times[-1])
        view = View(oldest=first, now=last, height=self._high, width=self._wide)
        return SHADES[self.painter.style.colour](self.painter.scene, view)

    @cached_property
    def _radius(self) -> float:
        """Of a mark in the block's middle, px: what suits a frame of the size that it has there."""
        share = self._eye.zoom / max(self._high, self._wide)
        return mark_size(round(share * self._high), round(share * self._wide))


def _laid(
    canvas: UInt8[np.ndarray, "h w 3"],
    sheet: UInt8[np.ndarray, "H W 3"],
    corners: Float[np.ndarray, "4 2"],
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the canvas on which a sheet's corners (clockwise from the upper left) lie at ``corners``."""
    low = np.floor(corners.min(0)).astype(int)
    width, height = (np.ceil(corners.max(0)).astype(int) - low).tolist()
    sheet = _shrunk(sheet, corners)
    high, wide = sheet.shape[:2]
    source = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32) - 0.5
    target = (FINER * (corners - low) - 0.5).astype(np.float32)  # OpenCV counts from the centre of a pixel
    matrix = cv2.getPerspectiveTransform(source, target)
    fine = (FINER * width, FINER * height)
    large = cv2.warpPerspective(sheet, matrix, fine, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = np.zeros(fine[::-1], np.uint8)
    cv2.fillConvexPoly(inside, np.round(target * 16).astype(np.int32), 255, shift=4)
    colours = cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    opacity = cv2.resize(inside, (width, height), interpolation=cv2.INTER_AREA)[..., None] / 255
    result = canvas.copy()
    part = result[low[1] : low[1] + height, low[0] : low[0] + width]
    part[:] = (opacity * colours + (1 - opacity) * part).round()
    return result


def _shrunk(
    sheet: UInt8[np.ndarray, "H W 3"], corners: Float[np.ndarray, "4 2"]
) -> UInt8[np.ndarray, "h w 3"]:
    """A sheet no larger than it is drawn: a warp that reduces skips pixels, and what turns would flicker."""
    top, right, bottom, left = FINER * np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    wide = min(sheet.shape[1], max(1, round(max(top, bottom))))
    high = min(sheet.shape[0], max(1, round(max(left, right))))
    return cv2.resize(sheet, (wide, high), interpolation=cv2.INTER_AREA)


def _outline(corners: Float[np.ndarray, "4 2"]) -> Strokes:
    both = np.ones((4, 2))
    return Strokes(
        start=corners,
        end=np.roll(corners, -1, axis=0),
        radius=EDGE * both,
        opacity=both,
        colour=both[..., None] * np.array(EDGE_COLOUR),
    )
