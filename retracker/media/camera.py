"""Cameras and streams, frame by frame as they come, through OpenCV."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import cv2
import numpy as np
import torch
from cv2.utils import logging as opencv_log
from jaxtyping import UInt8
from torch import Tensor

from retracker.media.files import existing_file

DEVICES = "/dev/video"
QUIET = "-8"  # FFmpeg's level for nothing at all
LATE = 0.9  # of the timeout: a read that failed after so long has not come to an end, it was given up


class Camera:
    """What ``open_camera`` yields; iterating reads until the stream ends."""

    def __init__(self, capture: cv2.VideoCapture, source: int | str, timeout_s: float | int) -> None:
        self._capture, self._source, self._timeout_s = capture, source, timeout_s
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps: float | None = fps if isfinite(fps) and fps > 0 else None  # None: it does not say
        # A file is played at its own speed: who is too slow for it must leave frames out, as with a camera.
        self._pace = self.fps if is_file(source) else None

    def __iter__(self) -> Iterator[tuple[float, UInt8[Tensor, "3 H W"]]]:
        """Each frame, RGB, behind the time at which it came, in seconds since the first one.

        Ends with the stream. Raises ValueError if there is no frame at all, or a device stops sending, and
        TimeoutError if a stream has sent nothing for ``timeout_s``.
        """
        start, count = 0.0, 0
        while True:
            asked = time.monotonic()
            known, picture = self._capture.read()
            now = time.monotonic()
            if not known:
                self._check_end(now - asked, count)
                return
            start = start if count else now
            if self._pace:
                time.sleep(max(0.0, start + count / self._pace - now))
            yield time.monotonic() - start if count else 0.0, _rgb(picture)
            count += 1

    def _check_end(self, waited_s: float, count: int) -> None:
        if is_device(self._source):
            raise ValueError(f"{shown(self._source)}: stopped sending after {count} frames")
        if not is_file(self._source) and waited_s > LATE * self._timeout_s:
            raise TimeoutError(
                f"{shown(self._source)}: no frame for {self._timeout_s:g} s, after {count} frames"
            )
        if not count:
            raise ValueError(f"{shown(self._source)}: no frame can be read")


@contextmanager
def open_camera(source: int | str, timeout_s: float | int = 10.0) -> Iterator[Camera]:
    """A camera by its number, a stream by its URL (rtsp://, http:// ...), or a video file in place of one.

    No frame for ``timeout_s`` is an error. Raises ValueError if it cannot be opened, FileNotFoundError if it
    is a file that is not there.
    """
    if isinstance(source, str) and source.isdecimal():
        source = int(source)
    if is_file(source):
        existing_file(source)
    if timeout_s <= 0:
        raise ValueError(f"expected a timeout above 0 s, got {timeout_s:g}")
    with _silence():
        capture = _capture(source, timeout_s)
    try:
        if not capture.isOpened():
            raise ValueError(f"{shown(source)}: cannot be opened")
        yield Camera(capture, source, timeout_s)
    finally:
        capture.release()


def is_device(source: int | str) -> bool:
    """Whether this names a camera of this machine."""
    return isinstance(source, int) or source.startswith(DEVICES)


def is_file(source: int | str) -> bool:
    """Whether this names a file."""
    return not is_device(source) and "://" not in source


def shown(source: int | str) -> str:
    """A source as people name it, without the password in a URL."""
    return f"camera {source}" if isinstance(source, int) else re.sub(r"//[^/@]*@", "//", source)


def _capture(source: int | str, timeout_s: float | int) -> cv2.VideoCapture:
    if is_device(source):
        capture = cv2.VideoCapture(source)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # what waits in the driver is old when it is read
        return capture
    patience_ms = max(1, round(1000 * timeout_s))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, patience_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, patience_ms]
    return cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from writing what is said in one line here."""
    level, ours = opencv_log.getLogLevel(), "OPENCV_FFMPEG_LOGLEVEL" not in os.environ
    opencv_log.setLogLevel(opencv_log.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", QUIET)
    try:
        yield
    finally:
        opencv_log.setLogLevel(level)
        if ours:
            del os.environ["OPENCV_FFMPEG_LOGLEVEL"]


def _rgb(picture: np.ndarray) -> UInt8[Tensor, "3 H W"]:
    return torch.from_numpy(np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1)))
