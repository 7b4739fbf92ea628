"""What a tracker must beat: staying where you are, and OpenCV's pyramidal Lucas-Kanade."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Tracked

HALF = 0.5  # OpenCV calls the centre of the upper-left pixel (0, 0); we call it (0.5, 0.5)


@dataclass(frozen=True, kw_only=True)
class LucasKanadeSettings:
    """The knobs of the baseline."""

    window: int  # px, a side of the patch that is aligned
    pyramid: int  # levels above the frame itself
    round_trip: float | int  # px: forth and back must return this close to the start
    patience: int  # frames: how long a lost point is looked for where it was last seen; 0 = never again
    likeness: float | int  # normalised correlation that a point found again must reach


def stay(video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Tracked:
    """Every point stays where its query (t, x, y) is, and is visible from there on."""
    times = torch.arange(len(video))[:, None]
    visible = times >= queries[None, :, 0]
    tracks = queries[None, :, 1:].repeat(len(video), 1, 1)
    return Tracked(tracks=tracks, visible=visible, confidence=visible.float())


def lucas_kanade(
    video: UInt8[Tensor, "T 3 H W"],
    queries: Float[Tensor, "N 3"],
    settings: LucasKanadeSettings,
) -> Tracked:
    """Follow points (t, x, y) from frame to frame; a point that does not come back to its start is hidden.

    A hidden point keeps its last position and is looked for again, by the patch around it in the frame where
    it was last seen, until ``settings.patience`` frames have passed.
    """
    frames: dict[int, np.ndarray] = {}  # those in which somebody may have been seen last
    born = queries[:, 0].long().numpy()
    xy = queries[:, 1:].numpy().astype(np.float32).copy()
    seen = np.full(len(queries), -1)  # the last frame in which each point was visible; -1: not born yet
    tracks, visible = [], []
    for t, frame in enumerate(map(grey, video)):
        for last in np.unique(seen[seen >= max(0, t - 1 - settings.patience)]):
            chosen = np.flatnonzero(seen == last)
            found, good = _follow(frames[last], frame, xy[chosen], settings)
            if last < t - 1:
                good &= _alike((frames[last], frame), xy[chosen], found, settings)
            xy[chosen[good]] = found[good]
            seen[chosen[good]] = t
        seen[born == t] = t
        frames[t] = frame
        frames.pop(t - 1 - settings.patience, None)
        tracks.append(torch.from_numpy(xy.copy()))
        visible.append(torch.from_numpy(seen == t))
    shown = torch.stack(visible)
    return Tracked(tracks=torch.stack(tracks), visible=shown, confidence=shown.float())


def grey(frame: UInt8[Tensor, "3 H W"]) -> np.ndarray:
    """A frame as OpenCV wants it, in shades of grey."""
    return cv2.cvtColor(np.ascontiguousarray(frame.permute(1, 2, 0).cpu().numpy()), cv2.COLOR_RGB2GRAY)


def _follow(
    source: np.ndarray, target: np.ndarray, xy: np.ndarray, settings: LucasKanadeSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Where points (N, 2) of the source image are in the target, and whether the way back confirms it (N)."""
    options = {"winSize": (settings.window, settings.window), "maxLevel": settings.pyramid}
    start = xy[:, None] - np.float32(HALF)  # N 1 2, as OpenCV wants them
    there, found, _ = cv2.calcOpticalFlowPyrLK(source, target, start, None, **options)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(target, source, there, None, **options)
    missed = np.linalg.norm(back - start, axis=-1)[:, 0]
    moved = there[:, 0] + np.float32(HALF)
    height, width = target.shape
    inside = ((moved >= 0) & (moved < (width, height))).all(axis=-1)
    both = (found[:, 0] == 1) & (returned[:, 0] == 1)
    return moved, both & inside & (missed < settings.round_trip)


def _alike(
    images: tuple[np.ndarray, np.ndarray],
    source: np.ndarray,
    target: np.ndarray,
    settings: LucasKanadeSettings,
) -> np.ndarray:
    """Whether the patches around points (N, 2) of two images correlate; else what was lost stays lost."""
    size = (settings.window, settings.window)
    return np.array(
        [
            _correlation(
                cv2.getRectSubPix(images[0], size, a - np.float32(HALF)),
                cv2.getRectSubPix(images[1], size, b - np.float32(HALF)),
            )
            > settings.likeness
            for a, b in zip(source, target, strict=True)
        ],
        dtype=bool,
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(cv2.matchTemplate(a, b, cv2.TM_CCOEFF_NORMED)[0, 0])
