"""One video that somebody works on: its frames, its points, and the way back from each change."""

import shutil
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_urlsafe
from threading import Lock, RLock

from retracker.demo.frames import FrameStore
from retracker.demo.jobs import Job
from retracker.demo.points import (
    Anchor,
    Leg,
    Point,
    born,
    checked,
    click_hue,
    corrected,
    grid_hue,
    open_legs,
    shortened,
)
from retracker.demo.refusal import ABSENT, BUSY, Refusal, calling
from retracker.inference.frames import shown
from retracker.inference.two_views import grid_points
from retracker.media.video import count_frames, probe

MOST_SESSIONS = 8
MOST_UNDONE = 100
MOST_ANSWERS = 5_000_000  # points times frames, of about 14 bytes
MOST_PIXELS = 8192 * 4608
LARGEST_GRID = 40  # points a side


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file and what it is called."""

    path: Path
    name: str
    size: tuple[int, int]  # height and width, px
    fps: float
    num_frames: int


def open_clip(path: Path, name: str) -> Clip:
    """Look at a video; raises Refusal, which calls it by its name, if it is none or too large."""
    with calling(path, name):
        info = probe(path)
        num_frames = count_frames(path)
    size = (info.height, info.width)
    if info.height * info.width > MOST_PIXELS:
        raise Refusal(f"{name}: frames of {shown(size)} are larger than this page can show")
    return Clip(path=path, name=name, size=size, fps=info.fps, num_frames=max(1, num_frames))


class Session:
    """The points of one clip. Methods that change them raise Refusal while these are being tracked."""

    def __init__(self, clip: Clip, folder: Path) -> None:
        self.clip, self.folder, self.job = clip, folder, Job.nothing()
        self.frames = FrameStore(clip.path, clip.size)
        self.lock = RLock()  # held for each look at, and change of, the points
        self.points: dict[int, Point] = {}
        self._next_key, self._past = 1, []

    def add(self, t: int, places: Sequence[list[float]]) -> None:
        """Put points (px) into frame ``t``."""
        self._add([(checked(t, xy, *self._frame), None) for xy in places])

    def add_grid(self, t: int, count: int) -> None:
        """Put ``count`` x ``count`` points into frame ``t``."""
        if not 1 <= count <= LARGEST_GRID:
            raise Refusal(f"a grid has 1 to {LARGEST_GRID} points a side, not {count}")
        anchors = [checked(t, xy, *self._frame) for xy in grid_points(*self.clip.size, count).tolist()]
        self._add([(anchor, grid_hue(anchor, self.clip.size)) for anchor in anchors])

    def correct(self, key: int, t: int, xy: list[float]) -> None:
        """Say where a point is in frame ``t``: all that was found there and later is forgotten."""
        anchor = checked(t, xy, *self._frame)
        with self._changing() as points:
            points[key] = corrected(self._point(key), anchor)

    def remove(self, key: int) -> None:
        with self._changing() as points:
            del points[self._point(key).key]

    def clear(self) -> None:
        with self._changing() as points:
            points.clear()

    def undo(self) -> None:
        """Take the last change back, but nothing that was found since of points which it did not touch."""
        with self.lock:
            self._check_idle()
            if not self._past:
                raise Refusal("there is nothing to undo", BUSY)
            now, before = self.points, self._past.pop()
            self.points = {
                key: now[key] if key in now and now[key].anchors == point.anchors else point
                for key, point in before.items()
            }

    def open_legs(self, *, backward: bool) -> list[Leg]:
        """All that is left to be tracked."""
        with self.lock:
            return [leg for point in self.points.values() for leg in open_legs(point, backward=backward)]

    def shorten(self, num_frames: int) -> None:
        """Believe the decoder: some videos have packets that give no frame."""
        with self.lock:
            self.clip, self._past = replace(self.clip, num_frames=num_frames), []
            self.points = {
                key: shortened(point, num_frames)
                for key, point in self.points.items()
                if point.anchors[0].t < num_frames
            }

    @property
    def _frame(self) -> tuple[tuple[int, int], int]:
        return self.clip.size, self.clip.num_frames

    def _add(self, placed: list[tuple[Anchor, float | None]]) -> None:
        with self._changing() as points:
            most = MOST_ANSWERS // self.clip.num_frames
            if len(points) + len(placed) > most:
                raise Refusal(f"in a video of {self.clip.num_frames} frames there can be {most} points")
            for anchor, hue in placed:
                hue = click_hue(self._next_key) if hue is None else hue
                points[self._next_key] = born(self._next_key, hue, anchor, self.clip.num_frames)
                self._next_key += 1

    def _point(self, key: int) -> Point:
        if key not in self.points:
            raise Refusal(f"there is no point {key}", ABSENT)
        return self.points[key]

    @contextmanager
    def _changing(self) -> Iterator[dict[int, Point]]:
        """A copy of the points to change; it is taken over if nothing is refused."""
        with self.lock:
            self._check_idle()
            points = dict(self.points)
            yield points
            self._past = [*self._past[1 - MOST_UNDONE :], self.points]
            self.points = points

    def _check_idle(self) -> None:
        if self.job.active:
            raise Refusal("points cannot be changed while they are being tracked: cancel first", BUSY)


class Sessions:
    """The sessions of one server under one folder; the one not used for longest makes way for the next."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __contains__(self, key: object) -> bool:
        return key in self._sessions

    def __getitem__(self, key: str) -> Session:
        """Raises Refusal if there is no such session (any more)."""
        with self._lock:
            if key not in self._sessions:
                raise Refusal("this video is no longer here: load it again", ABSENT)
            self._sessions.move_to_end(key)
            return self._sessions[key]

    @contextmanager
    def new_folder(self) -> Iterator[Path]:
        """An empty folder of its own, gone again if the body raises."""
        folder = self._folder / token_urlsafe(12)
        folder.mkdir(parents=True)
        try:
            yield folder
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def add(self, clip: Clip, folder: Path) -> str:
        """A session for a clip; returns its key."""
        key, session = token_urlsafe(24), Session(clip, folder)
        with self._lock:
            self._sessions[key] = session
            surplus = list(self._sessions)[:-MOST_SESSIONS]
        for old in surplus:
            self.close(old)
        return key

    def close(self, key: str) -> None:
        """Stop a session's work and delete what it has on disk."""
        with self._lock:
            session = self._sessions.pop(key, None)
        if session is not None:
            session.job.cancel()
            shutil.rmtree(session.folder, ignore_errors=True)
