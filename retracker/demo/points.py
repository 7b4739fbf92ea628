"""A point as a person has put it, moved it and put it right, and what has been found of it since."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import isfinite

import numpy as np
from jaxtyping import Bool, Float

from retracker.demo.refusal import Refusal

GOLDEN_DEGREES = 137.508  # hues that follow one another at this angle stay far apart
FIRST_HUE = 190.0
GRID_HUES = 300.0  # of 360: a grid's hues go with the position and stop before they come round


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """Where somebody says that a point is: the frame, and px of the video."""

    t: int
    x: float
    y: float


@dataclass(frozen=True, kw_only=True)
class Answers:
    """One point in all frames; where nobody has looked for it, it is not ``known``."""

    xy: Float[np.ndarray, "T 2"]  # px
    visible: Bool[np.ndarray, " T"]
    confidence: Float[np.ndarray, " T"]
    known: Bool[np.ndarray, " T"]

    def put(self, t: int, xy: Float[np.ndarray, "2"], visible: bool, confidence: float) -> None:
        """Write one frame's answer, in place: it comes from the one who owns the point."""
        self.xy[t], self.visible[t], self.confidence[t], self.known[t] = xy, visible, confidence, True


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point: its query, then its corrections, in the order of their frames, and its answers."""

    key: int
    hue: float  # degrees
    anchors: tuple[Anchor, ...]
    answers: Answers


@dataclass(frozen=True, kw_only=True)
class Leg:
    """One stretch of a point's way: from an anchor, forwards or backwards, up to before frame ``end``."""

    key: int
    start: Anchor
    end: int

    @property
    def forward(self) -> bool:
        return self.end > self.start.t


def born(key: int, hue: float, anchor: Anchor, num_frames: int) -> Point:
    """A point that is known only where somebody put it."""
    nothing = Answers(
        xy=np.zeros((num_frames, 2), np.float32),
        visible=np.zeros(num_frames, bool),
        confidence=np.zeros(num_frames, np.float32),
        known=np.zeros(num_frames, bool),
    )
    return _placed(Point(key=key, hue=hue, anchors=(), answers=nothing), anchor)


def corrected(point: Point, anchor: Anchor) -> Point:
    """The point put right in one frame: what was found from there on is forgotten, what was before stays."""
    kept = point.answers.known.copy()
    kept[anchor.t :] = False
    answers = Answers(
        xy=point.answers.xy.copy(),
        visible=point.answers.visible.copy(),
        confidence=point.answers.confidence.copy(),
        known=kept,
    )
    earlier = tuple(old for old in point.anchors if old.t < anchor.t)
    return _placed(replace(point, anchors=earlier, answers=answers), anchor)


def shortened(point: Point, num_frames: int) -> Point:
    """The point in the first frames only."""
    answers = Answers(
        **{field.name: getattr(point.answers, field.name)[:num_frames] for field in fields(Answers)}
    )
    return replace(point, anchors=tuple(a for a in point.anchors if a.t < num_frames), answers=answers)


def open_legs(point: Point, *, backward: bool) -> Iterator[Leg]:
    """The stretches of the point's way in which there are frames that nobody has looked at."""
    known, ends = point.answers.known, [anchor.t for anchor in point.anchors[1:]] + [len(point.answers.known)]
    for start, end in zip(point.anchors, ends, strict=True):
        if not known[start.t : end].all():
            yield Leg(key=point.key, start=start, end=end)
    first = point.anchors[0]
    if backward and not known[: first.t].all():
        yield Leg(key=point.key, start=first, end=-1)


def checked(t: int, xy: list[float], size: tuple[int, int], num_frames: int) -> Anchor:
    """An anchor inside the video of (height, width); raises Refusal for one outside it."""
    if not 0 <= t < num_frames:
        raise Refusal(f"there is no frame {t}: the video's frames are 0 to {num_frames - 1}")
    x, y = xy
    if not (isfinite(x) and isfinite(y) and 0 <= x <= size[1] and 0 <= y <= size[0]):
        raise Refusal(f"the point ({x:g}, {y:g}) lies outside the frame of {size[1]} x {size[0]} px")
    return Anchor(t=t, x=float(x), y=float(y))


def click_hue(key: int) -> float:
    """Points that are clicked one after another look as different as can be."""
    return (FIRST_HUE + GOLDEN_DEGREES * key) % 360


def grid_hue(anchor: Anchor, size: tuple[int, int]) -> float:
    """Neighbours in a grid look alike, so that what moves otherwise than its surroundings shows."""
    return GRID_HUES * (0.75 * anchor.y / size[0] + 0.25 * anchor.x / size[1])


def _placed(point: Point, anchor: Anchor) -> Point:
    point.answers.put(anchor.t, np.array([anchor.x, anchor.y], np.float32), visible=True, confidence=1.0)
    return replace(point, anchors=(*point.anchors, anchor))
