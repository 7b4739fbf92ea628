"""What a point's colour means: each way is a function of the scene, registered under its name."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from retracker.visualize.canvas import rainbow
from retracker.visualize.scene import Scene

DARKEST, BRIGHTEST = 0.1, 0.95  # of a colour map: what lies beyond is hardly seen on a picture
RAMP_STEPS = 64  # of a legend
# Baker et al., A database and evaluation methodology for optical flow (2007): steps from one hue to the next.
WHEEL = MappingProxyType({"red": 15, "yellow": 6, "green": 4, "cyan": 11, "blue": 13, "magenta": 6})
HUES = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))


@dataclass(frozen=True, kw_only=True)
class View:
    """What of a scene is drawn: the frames from ``oldest`` to ``now``, on a picture of some size."""

    oldest: int
    now: int
    height: int
    width: int

    @property
    def frames(self) -> Int[np.ndarray, " K"]:
        return np.arange(self.oldest, self.now + 1)


Shade = Callable[[Scene, View], Float[np.ndarray, "K N 3"]]  # RGB 0..255 of each point in each frame


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What colours mean, for a legend: a ramp between two labels, or a wheel whose rim has one."""

    ramp: UInt8[np.ndarray, "n 3"] | None  # None: a wheel
    labels: tuple[str, ...]


def by_point(scene: Scene, view: View) -> Float[np.ndarray, "K N 3"]:
    """One colour per point, by where it is born."""
    colours = np.array(rainbow(scene.anchors, view.height, view.width), float).reshape(-1, 3)
    return np.broadcast_to(colours, (len(view.frames), *colours.shape))


def by_time(scene: Scene, view: View) -> Float[np.ndarray, "K N 3"]:
    """One colour per frame, from the trail's oldest to the present."""
    share = (view.frames - view.oldest) / max(1, view.now - view.oldest) if view.now > view.oldest else [1.0]
    colours = ramp(cv2.COLORMAP_PLASMA, np.asarray(share)).astype(float)
    return np.broadcast_to(colours[:, None], (len(colours), len(scene.first), 3))


def by_confidence(scene: Scene, view: View) -> Float[np.ndarray, "K N 3"]:
    """From dark blue for 0 to yellow for 1."""
    assert scene.confidence is not None  # the painter has looked
    return ramp(cv2.COLORMAP_VIRIDIS, scene.confidence[view.oldest : view.now + 1]).astype(float)


def by_motion(scene: Scene, view: View) -> Float[np.ndarray, "K N 3"]:
    """As optical flow is drawn: hue by the direction to the next frame, stronger by speed."""
    return flow_colours(scene.step[view.oldest : view.now + 1] / scene.fastest_step)


def by_travel(scene: Scene, view: View) -> Float[np.ndarray, "K N 3"]:
    """As optical flow from each point's birth."""
    return flow_colours(scene.travel[view.oldest : view.now + 1] / scene.longest_travel)


def ramp(colour_map: int, share: Float[np.ndarray, "*B"]) -> UInt8[np.ndarray, "*B 3"]:
    """The colours of one of OpenCV's maps between its darkest and its brightest that are used here."""
    level = DARKEST + (BRIGHTEST - DARKEST) * np.asarray(share, float).clip(0, 1)
    flat = (255 * level).round().astype(np.uint8).reshape(-1, 1)
    colours = cv2.applyColorMap(flat, colour_map) if flat.size else np.zeros((0, 1, 3), np.uint8)
    return colours[:, 0, ::-1].reshape(*level.shape, 3)


def flow_colours(motion: Float[np.ndarray, "*B 2"]) -> Float[np.ndarray, "*B 3"]:
    """White for none, or for what is no number; full colours at length 1, darker ones beyond."""
    motion = np.where(np.isfinite(motion).all(-1, keepdims=True), motion, 0.0)
    wheel = _wheel()
    length = np.hypot(motion[..., 0], motion[..., 1])[..., None]
    turn = (np.arctan2(-motion[..., 1], -motion[..., 0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = np.floor(turn).astype(int)
    part = (turn - below)[..., None]
    hue = (1 - part) * wheel[below] + part * wheel[(below + 1) % len(wheel)]
    return 255 * np.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)


def _wheel() -> Float[np.ndarray, "n 3"]:
    """The hues of Baker et al. in the order of angles, 0..1."""
    nexts = (*HUES[1:], HUES[0])
    parts = [
        np.linspace(here, there, steps, endpoint=False)
        for here, there, steps in zip(HUES, nexts, WHEEL.values(), strict=True)
    ]
    return np.concatenate(parts) / 255


def _time_scale(scene: Scene, trail: int | None) -> Scale:
    oldest = "birth" if trail is None else f"{min(trail, max(0, len(scene.tracks) - 1))} frames ago"
    return Scale(ramp=ramp(cv2.COLORMAP_PLASMA, np.linspace(0, 1, RAMP_STEPS)), labels=(oldest, "now"))


def _confidence_scale(_scene: Scene, _trail: int | None) -> Scale:
    colours = ramp(cv2.COLORMAP_VIRIDIS, np.linspace(0, 1, RAMP_STEPS))
    return Scale(ramp=colours, labels=("confidence 0", "1"))


def _motion_scale(scene: Scene, _trail: int | None) -> Scale:
    return Scale(ramp=None, labels=(f"{scene.fastest_step / scene.zoom:.1f} px a frame",))


def _travel_scale(scene: Scene, _trail: int | None) -> Scale:
    return Scale(ramp=None, labels=(f"{scene.longest_travel / scene.zoom:.0f} px since birth",))


SHADES: MappingProxyType[str, Shade] = MappingProxyType(
    {
        "point": by_point,
        "time": by_time,
        "confidence": by_confidence,
        "motion": by_motion,
        "travel": by_travel,
    }
)
# By whom a scale is made from the scene and the trail's length; a colour without one means nothing.
SCALES: MappingProxyType[str, Callable[[Scene, int | None], Scale]] = MappingProxyType(
    {
        "time": _time_scale,
        "confidence": _confidence_scale,
        "motion": _motion_scale,
        "travel": _travel_scale,
    }
)
