"""Tracking as it goes on in the background: what is found, how far it is, and how to stop it."""

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic

RECENT_STEPS = 20  # over which the pace is taken


@dataclass(frozen=True, kw_only=True)
class Found:
    """The answers of one frame, for the page."""

    t: int
    keys: list[int]
    xy: list[list[float]]  # px
    visible: list[bool]
    confidence: list[float]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How far a job is."""

    done: int  # frames
    total: int
    per_second: float | None  # None: it has hardly begun
    seconds_left: float | None


class Job:
    """One run over the frames; written to by the thread that tracks, read by those who ask."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = total, 0, Lock()
        self._found: list[Found] = []
        self._times: deque[float] = deque(maxlen=RECENT_STEPS)
        self._stop = Event()
        self.future: Future[None] = Future()  # its own ending, set by who runs it

    @staticmethod
    def nothing() -> "Job":
        """What a session has before its first job: one that is over."""
        job = Job(0)
        job.future.set_result(None)
        return job

    @property
    def active(self) -> bool:
        return not self.future.done()

    @property
    def stopped(self) -> bool:
        """Somebody wants it to end."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """End before the next frame, or before the first; what is found stays."""
        self._stop.set()
        self.future.cancel()

    def advance(self, found: Found) -> None:
        """One more frame is done."""
        with self._lock:
            self._found.append(found)
            self._done += 1
            self._times.append(monotonic())

    def found_since(self, start: int, most: int) -> list[Found]:
        """What was found, from the ``start``-th frame that was done on."""
        with self._lock:
            return self._found[start : start + most]

    def pace(self) -> Pace:
        with self._lock:
            times = list(self._times)
            done = self._done
        rate = (len(times) - 1) / max(times[-1] - times[0], 1e-6) if len(times) > 1 else None
        left = None if rate is None else (self._total - done) / rate
        return Pace(done=done, total=self._total, per_second=rate, seconds_left=left)
