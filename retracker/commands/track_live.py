"""Cameras and streams for ``retracker track``: what there is no time for is left out, the rest recorded."""

import re
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from torch import Tensor

from retracker.inference.live import Latest
from retracker.media.camera import Camera, open_camera, shown
from retracker.media.sources import FrameSource, FrameStream, VideoFile, Window
from retracker.media.video import UNKNOWN_FPS, VideoWriter

PATIENCE_S = 15.0  # without a frame


def is_live(source: str) -> bool:
    """Whether this names a camera or a stream, not a file."""
    return (source.isdecimal() and not Path(source).exists()) or "://" in source


def live_name(source: str) -> str:
    """A name for the files of a camera or a stream; what may be a password is left out."""
    if source.isdecimal():
        return f"camera{source}"
    return re.sub(r"\W+", "_", source.split("://", 1)[1].split("@")[-1].split("?")[0]).strip("_") or "stream"


@contextmanager
def live_source(source: str, window: Window) -> Iterator["LiveSource"]:
    """Always the latest frame; those asked for are recorded, in a folder that vanishes in the end.

    Raises ValueError if there is no such camera or stream.
    """
    latest = Latest()
    with tempfile.TemporaryDirectory() as folder, open_camera(source) as camera:
        thread = threading.Thread(target=_read, args=(camera, latest), daemon=True)
        thread.start()
        try:
            yield LiveSource(shown(source), window, latest, camera.fps, Path(folder) / "recording.mp4")
        finally:
            latest.refuse()
            thread.join(PATIENCE_S)


class LiveSource(FrameStream):
    """The frames that there was time for."""

    def __init__(
        self, where: str, window: Window, latest: Latest, fps: float | None, recording: Path
    ) -> None:
        self._latest, self._recording, self._latencies = latest, recording, []
        super().__init__(self._as_they_come(), window, where)
        self.fps = fps

    def timed(self) -> Iterator[tuple[float | None, Tensor]]:
        """The frames, which are recorded as they are passed on."""
        with VideoWriter(self._recording, self.fps or float(UNKNOWN_FPS)) as writer:
            try:
                for time_s, frame in super().timed():
                    writer.write(frame, time_s)
                    yield time_s, frame
            except GeneratorExit:  # nobody asks for more: what is recorded is to be kept
                return

    def recorded(self) -> FrameSource:
        """What was passed on, to be read again."""
        return VideoFile(self._recording)

    def report(self) -> str:
        """How it kept up, in words."""
        captured, dropped = self._latest.counts()
        late = f", {1000 * median(self._latencies):.0f} ms behind (median)" if self._latencies else ""
        return f"{captured} frames came, {dropped} were left out to keep up{late}"

    def _as_they_come(self) -> Iterator[tuple[float, Tensor]]:
        first = None
        while (waiting := self._latest.take(PATIENCE_S)) is not None:
            first = waiting.came if first is None else first
            yield waiting.came - first, waiting.frame
            self._latencies.append(time.monotonic() - waiting.came)


def _read(camera: Camera, latest: Latest) -> None:
    with latest:
        for _, frame in camera:
            if not latest.put(frame, time.monotonic()):
                return
