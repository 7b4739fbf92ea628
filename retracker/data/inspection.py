"""Look through a data set: what is there, missing or broken, what its labels are like, how fast it reads."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from retracker.data.faults import CORRUPT
from retracker.data.label_statistics import ClipStatistics, statistics_of
from retracker.data.pairs import Pairs
from retracker.data.recordings import Recordings, Unusable
from retracker.data.supervision import query_points, supervised_clip
from retracker.types import VideoSample

PAIR_POINTS = 512  # of each pair: enough to tell its overlap to some percent


@dataclass(frozen=True, kw_only=True)
class Part:
    """What is read in one go: one item of a data set, or these frames of one of its recordings."""

    index: int
    frames: range | None = None


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An item that cannot be read, and why. ``missing``: a file is not there, rather than broken."""

    index: int
    reason: str
    missing: bool


@dataclass(frozen=True, kw_only=True)
class Census:
    """What the names alone tell."""

    items: int
    scenes: int | None  # None: the data set has none
    frames: int | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What reading told."""

    clips: tuple[ClipStatistics, ...]
    sound: tuple[Part, ...]  # what each of ``clips`` is of
    unusable: tuple[Fault, ...]  # sound files without a single visible point
    faults: tuple[Fault, ...]
    seconds: float  # spent on reading what is in ``clips``


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is read of a recording: ``num_frames`` in a row, or with ``whole`` all, so many at a time."""

    num_frames: int
    whole: bool


def census_of(dataset: Dataset, progress: Callable[[], None]) -> Census:
    """Count recordings, scenes and frames; ``progress`` is called once per item."""
    scenes, frames, faults = set(), 0, []
    for index in range(len(dataset)) if has_names(dataset) else ():
        scenes.add(dataset.scene(index))
        try:
            frames += _num_frames(dataset, index) if isinstance(dataset, Recordings) else 2
        except CORRUPT as error:
            faults.append(_fault(index, error))
        progress()
    return Census(
        items=len(dataset),
        scenes=len(scenes) if has_names(dataset) else None,
        frames=frames if isinstance(dataset, Recordings) else None,
        faults=tuple(faults),
    )


def has_names(dataset: Dataset) -> bool:
    """Whether its items have scenes; those of others are made on demand, as many as one likes."""
    return isinstance(dataset, Recordings | Pairs)


def kind_of(dataset: Dataset) -> str:
    """What its items are: a recording, a pair or a clip."""
    if isinstance(dataset, Pairs):
        return "pair"
    return "recording" if isinstance(dataset, Recordings) else "clip"


def inspect(
    dataset: Dataset,
    indices: Sequence[int],
    extent: Extent,
    rng: np.random.Generator,
    progress: Callable[[], None],
) -> Findings:
    """Read the given items one by one, each up to its first fault; ``progress`` is called after each."""
    clips, sound, unusable, faults, seconds = [], [], [], [], 0.0
    for index in indices:
        try:
            for part in parts_of(dataset, index, extent, rng):
                start = time.perf_counter()
                try:
                    clip = excerpt(dataset, part)
                except Unusable as error:
                    unusable.append(_fault(index, error))
                    continue
                seconds += time.perf_counter() - start
                clips.append(statistics_of(clip))
                sound.append(part)
        except CORRUPT as error:
            faults.append(_fault(index, error))
        progress()
    return Findings(
        clips=tuple(clips),
        sound=tuple(sound),
        unusable=tuple(unusable),
        faults=tuple(faults),
        seconds=seconds,
    )


def parts_of(dataset: Dataset, index: int, extent: Extent, rng: np.random.Generator) -> Iterator[Part]:
    """What to read of one item: some frames in a row anywhere in a recording, or all such runs."""
    if not isinstance(dataset, Recordings):
        yield Part(index=index)
        return
    total, length = _num_frames(dataset, index), extent.num_frames
    starts = range(0, total, length) if extent.whole else [int(rng.integers(max(1, total - length + 1)))]
    for start in starts:
        yield Part(index=index, frames=range(start, min(start + length, total)))


def excerpt(dataset: Dataset, part: Part) -> VideoSample:
    """Read one part as an unbatched clip; a pair as two frames, with points strewn over the first.

    Raises what reading raises, Unusable included.
    """
    if isinstance(dataset, Recordings):
        return dataset.read(part.index, part.frames)
    if isinstance(dataset, Pairs):
        pair = dataset[part.index]
        xy = query_points(pair, PAIR_POINTS, np.random.default_rng(part.index))
        return supervised_clip(pair, xy, dense=False)
    return dataset[part.index]


def spread(count: int, most: int, rng: np.random.Generator) -> list[int]:
    """Up to ``most`` of ``count`` indices in rising order, a random one out of each equal stretch."""
    if count <= most:
        return list(range(count))
    edges = np.linspace(0, count, most + 1).astype(int)
    return rng.integers(edges[:-1], edges[1:]).tolist()


def _num_frames(recordings: Recordings, index: int) -> int:
    total = recordings.num_frames(index)
    if total < 1:
        raise FileNotFoundError(f"a recording of the scene {recordings.scene(index)} has no frames")
    return total


def _fault(index: int, error: Exception) -> Fault:
    reason = " ".join(str(error).split()) or type(error).__name__
    return Fault(index=index, reason=reason, missing=isinstance(error, FileNotFoundError))
