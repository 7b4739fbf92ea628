"""Tracking what happens now: of the frames that came while one was tracked, the latest is next.

with open_camera(0) as camera, LiveTracker(retracker.OnlineTracker(model), camera) as live:
    live.tracker.add_queries([[320.0, 240.0]])
    for answer in live:
        show(answer.frame, answer.found)
print(live.report())
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from statistics import median
from types import TracebackType

import numpy as np
from torch import Tensor

from retracker.inference.online import OnlineTracker
from retracker.inference.slots import FrameTracks

WINDOW = 1000  # frames that latency and speed are reported of: the latest
LATE_SHARE = 0.95  # of all frames have at most the latency that is reported as that of the late ones

Frame = Tensor | np.ndarray
Clock = Callable[[], float]  # in seconds


@dataclass(frozen=True, kw_only=True)
class LiveAnswer:
    """One frame and where the points are in it."""

    frame: Frame
    found: FrameTracks
    latency_s: float  # from when the frame came until it was tracked
    dropped: int  # frames since the previous answer that were left out


@dataclass(frozen=True, kw_only=True)
class LiveReport:
    """How a live tracker keeps up. Every frame that came was tracked or dropped, or is still waiting."""

    captured: int
    tracked: int
    dropped: int
    latency_s: float | None  # median of the latest answers; None: there is none yet
    latency_late_s: float | None  # 95 of 100 have at most this
    fps: float | None  # answers per second; None: there are not two yet

    def __str__(self) -> str:
        counts = f"tracked {self.tracked} of {self.captured} frames ({self.dropped} dropped)"
        if self.fps is None:
            return counts
        latency = f"{1000 * self.latency_s:.0f} ms (95 of 100 at most {1000 * self.latency_late_s:.0f} ms)"
        return f"{counts}, {self.fps:.1f} frames/s, latency {latency}"


class LiveTracker:
    """Reads frames in a thread, keeps the latest only, and tracks as fast as it can.

    ``frames`` yields frames as ``tracker.step`` takes them, or pairs of a time and a frame, as a camera does.
    Entering starts reading, leaving ends it. Iterating gives answers until there are no more frames; what
    goes wrong while reading is raised there, and TimeoutError after ``patience_s`` without a frame. Points
    come and go between answers, through ``tracker``.
    """

    def __init__(
        self,
        tracker: OnlineTracker,
        frames: Iterable[Frame | tuple[float, Frame]],
        patience_s: float | int = 15.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.tracker, self._frames, self._patience_s, self._clock = tracker, frames, patience_s, clock
        self._latest = Latest()
        self._thread = threading.Thread(target=self._read, name="frames", daemon=True)
        self._tracked = 0
        self._latencies: deque[float] = deque(maxlen=WINDOW)
        self._answered: deque[float] = deque(maxlen=WINDOW)  # when

    def __enter__(self) -> "LiveTracker":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._latest.refuse()
        self._thread.join(self._patience_s)

    def __iter__(self) -> Iterator[LiveAnswer]:
        if self._thread.ident is None:
            raise ValueError("expected `with LiveTracker(...) as live`: nothing is read before")
        while (waiting := self._latest.take(self._patience_s)) is not None:
            found = self.tracker.step(waiting.frame)
            now = self._clock()
            self._tracked += 1
            self._latencies.append(now - waiting.came)
            self._answered.append(now)
            yield LiveAnswer(
                frame=waiting.frame, found=found, latency_s=now - waiting.came, dropped=waiting.dropped
            )

    def report(self) -> LiveReport:
        """How it goes, or went."""
        late = np.quantile(self._latencies, LATE_SHARE) if self._latencies else None
        span = self._answered[-1] - self._answered[0] if self._answered else 0.0
        captured, dropped = self._latest.counts()
        return LiveReport(
            captured=captured,
            tracked=self._tracked,
            dropped=dropped,
            latency_s=median(self._latencies) if self._latencies else None,
            latency_late_s=None if late is None else float(late),
            fps=(len(self._answered) - 1) / span if span > 0 else None,
        )

    def _read(self) -> None:
        with self._latest:
            for item in self._frames:
                frame = item[1] if isinstance(item, tuple) else item
                # A source may write each frame into the same memory, also while this one is tracked.
                frame = frame.clone() if isinstance(frame, Tensor) else np.array(frame)
                if not self._latest.put(frame, self._clock()):
                    return


@dataclass(frozen=True)
class Waiting:
    """The frame that is next, when it came, and how many were left out before it."""

    frame: Frame
    came: float  # s
    dropped: int


class Latest:
    """A place for one frame between two threads; who reads them runs ``with latest``."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._waiting: Waiting | None = None
        self._ended = False
        self._error: BaseException | None = None
        self._captured = self._dropped = 0

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """No more frames will come: for this reason, which is for the other thread to raise."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()
        return True

    def put(self, frame: Frame, came: float) -> bool:
        """Have this frame instead of the one that waits; False if nobody wants it any more."""
        with self._change:
            if self._ended:
                return False
            self._captured += 1
            dropped = 0
            if self._waiting is not None:
                self._dropped += 1
                dropped = self._waiting.dropped + 1
            self._waiting = Waiting(frame, came, dropped)
            self._change.notify_all()
            return True

    def take(self, patience_s: float | int) -> Waiting | None:
        """The latest frame, waiting for one; None after the last. Raises the error that ended reading."""
        with self._change:
            if not self._change.wait_for(lambda: self._waiting is not None or self._ended, patience_s):
                raise TimeoutError(f"no frame for {patience_s:g} s")
            found, self._waiting = self._waiting, None
            if found is None and self._error is not None:
                raise self._error
            return found

    def refuse(self) -> None:
        """Let no more frames in; one that waits counts as dropped."""
        with self._change:
            self._ended = True
            self._dropped += self._waiting is not None
            self._waiting = None

    def counts(self) -> tuple[int, int]:
        """How many frames have come, and how many of them were left out."""
        with self._change:
            return self._captured, self._dropped
