"""The one thread that tracks: jobs wait for one another, because they share one network on one device."""

import sys
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor, nn

from retracker.demo.jobs import Found, Job
from retracker.demo.points import Leg
from retracker.demo.refusal import BUSY, Refusal, calling
from retracker.demo.session import Session
from retracker.inference.online import OnlineTracker
from retracker.inference.slots import FrameTracks
from retracker.media.video import iterate_video, read_frames

RUN_BYTES = 64 * 2**20  # raw frames read in one go on the way back
LONGEST_RUN = 32  # frames

NumberedFrames = Iterable[tuple[int, UInt8[Tensor, "3 H W"]]]


class Worker:
    """Tracks what is open in sessions, one after another."""

    def __init__(self, net: nn.Module, image_size: int | None) -> None:
        self._net, self._image_size = net, image_size
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tracking")
        self._waiting: list[Job] = []  # and the one that runs

    def start(self, session: Session, *, backward: bool) -> None:
        """Let all that is open in a session be tracked; raises Refusal if nothing is, or it already runs."""
        with session.lock:
            legs = session.open_legs(backward=backward)
            if session.job.active:
                raise Refusal("these points are being tracked already", BUSY)
            if not legs:
                raise Refusal("there is nothing to track: every point is known in every frame", BUSY)
            passes = [some for some in _passes(legs) if some]
            job = session.job = Job(sum(len(_span(some)) for some in passes))
            self._waiting = [other for other in self._waiting if other.active] + [job]
            job.future = self._executor.submit(self._run, session, job, passes)
        job.future.add_done_callback(_tell_operator)

    def num_ahead(self, job: Job) -> int:
        """How many jobs come before this one."""
        active = [other for other in self._waiting if other.active]
        return active.index(job) if job in active else 0

    def close(self) -> None:
        """Stop at the next frame, and wait for that."""
        for job in self._waiting:
            job.cancel()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _run(self, session: Session, job: Job, passes: list[list[Leg]]) -> None:
        clip = session.clip
        for legs in passes:
            span = _span(legs)
            tracker = OnlineTracker(self._net, self._image_size)
            frames = _forward(clip.path, span) if legs[0].forward else _backward(clip.path, span, clip.size)
            last = span.start
            with calling(clip.path, clip.name):
                for last, frame, found, keys in follow(tracker, frames, legs):
                    session.frames.offer(last, frame)
                    job.advance(_record(session, last, found, keys))
                    if job.stopped:
                        return
            if legs[0].forward and last < span[-1]:
                session.shorten(last + 1)


def follow(
    tracker: OnlineTracker, frames: NumberedFrames, legs: list[Leg]
) -> Iterator[tuple[int, Tensor, FrameTracks, list[int]]]:
    """Track each leg from its start to before its end through frames in either order of time.

    Yields each frame with its number, what is found in it, and whose answers these are.
    """
    whose: dict[int, Leg] = {}
    for t, frame in frames:
        over = [number for number, leg in whose.items() if leg.end == t]
        tracker.remove_queries(over)
        whose = {number: leg for number, leg in whose.items() if leg.end != t}
        starting = [leg for leg in legs if leg.start.t == t]
        if starting:
            ids = tracker.add_queries([[leg.start.x, leg.start.y] for leg in starting])
            whose |= dict(zip(ids.tolist(), starting, strict=True))
        found = tracker.step(frame)
        yield t, frame, found, [whose[number].key for number in found.ids.tolist()]


def _passes(legs: list[Leg]) -> tuple[list[Leg], list[Leg]]:
    """What is tracked with time, and what against it."""
    return [leg for leg in legs if leg.forward], [leg for leg in legs if not leg.forward]


def _span(legs: list[Leg]) -> range:
    """The frames to look at, in that order."""
    if legs[0].forward:
        return range(min(leg.start.t for leg in legs), max(leg.end for leg in legs))
    return range(max(leg.start.t for leg in legs), -1, -1)


def _forward(path: Path, span: range) -> NumberedFrames:
    return islice(enumerate(iterate_video(path)), span.start, span.stop)


def _backward(path: Path, span: range, size: tuple[int, int]) -> NumberedFrames:
    """Frames from the last to the first, some at a time: a whole film would not fit into memory."""
    step = min(LONGEST_RUN, max(1, RUN_BYTES // (3 * size[0] * size[1])))
    for begin in range(0, len(span), step):
        some = span[begin : begin + step]
        yield from zip(some, read_frames(path, some), strict=True)


def _record(session: Session, t: int, found: FrameTracks, keys: list[int]) -> Found:
    """Write one frame's answers to their points; these cannot change meanwhile."""
    tracks, confidence = found.tracks.numpy(), found.confidence.numpy()
    visible = found.visible.tolist()
    with session.lock:
        for key, xy, seen, sure in zip(keys, tracks, visible, confidence, strict=True):
            session.points[key].answers.put(t, xy, seen, float(sure))
    return Found(t=t, keys=keys, xy=tracks.tolist(), visible=visible, confidence=confidence.tolist())


def _tell_operator(future: Future[None]) -> None:
    """Show in the terminal what went wrong, unless it is a person's video."""
    error = None if future.cancelled() else future.exception()
    if error is not None and not isinstance(error, Refusal):
        show = partial(traceback.print_exception, file=sys.stderr)
        show(error)
