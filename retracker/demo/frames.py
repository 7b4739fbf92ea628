"""A video's frames as pictures for the page: decoded in runs, the least used thrown away."""

from collections import OrderedDict
from pathlib import Path
from threading import Lock

import cv2
import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from retracker.demo.refusal import ABSENT, Refusal
from retracker.media.video import read_frames

LONGEST_PX = 1280  # of a picture; positions stay in px of the video
QUALITY = 90  # of JPEG
KEPT_BYTES = 48 * 2**20
RUN_BYTES = 64 * 2**20  # raw frames decoded in one go
LONGEST_RUN = 16  # frames


class FrameStore:
    """The pictures of one video, kept in memory as JPEG up to ``KEPT_BYTES``."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path, self._lock = path, Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0
        self._run = int(np.clip(RUN_BYTES // (3 * size[0] * size[1]), 1, LONGEST_RUN))

    def jpeg(self, t: int, num_frames: int) -> bytes:
        """Frame ``t`` of so many; raises Refusal if there is none, and what ``read_frames`` raises."""
        if not 0 <= t < num_frames:
            raise Refusal(f"there is no frame {t}: the video's frames are 0 to {num_frames - 1}", ABSENT)
        with self._lock:  # whoever asks for a neighbour meanwhile finds it here afterwards
            if t not in self._kept:
                start = t - t % self._run
                self._read(t, range(start, min(start + self._run, num_frames)))
            self._kept.move_to_end(t)
            return self._kept[t]

    def offer(self, t: int, frame: UInt8[Tensor, "3 H W"]) -> None:
        """Keep a frame that somebody has decoded anyway."""
        with self._lock:
            if t not in self._kept:
                self._keep(t, frame)

    def _read(self, t: int, run: range) -> None:
        """Keep the frames of a run; where the video ends within it before it says so, ``t`` alone."""
        try:
            frames = read_frames(self._path, run)
        except ValueError:
            run, frames = range(t, t + 1), read_frames(self._path, range(t, t + 1))
        for number, frame in zip(run, frames, strict=True):
            self._keep(number, frame)

    def _keep(self, t: int, frame: UInt8[Tensor, "3 H W"]) -> None:
        picture = self._kept.pop(t, b"")
        self._bytes -= len(picture)
        self._kept[t] = encoded(frame)
        self._bytes += len(self._kept[t])
        while self._bytes > KEPT_BYTES and len(self._kept) > self._run:
            self._bytes -= len(self._kept.popitem(last=False)[1])


def encoded(frame: UInt8[Tensor, "3 H W"]) -> bytes:
    """A frame as JPEG, no side of it longer than ``LONGEST_PX``."""
    pixels = np.ascontiguousarray(frame.flip(0).permute(1, 2, 0).numpy())  # H W 3, blue first
    scale = LONGEST_PX / max(pixels.shape[:2])
    if scale < 1:
        height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
