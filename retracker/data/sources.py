"""What a mixture draws from: any data set made into an endless supply of clips of one length."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Dataset

from retracker.data.faults import CORRUPT, CorruptSample
from retracker.data.pairs import Pairs
from retracker.data.recordings import Recordings, Unusable
from retracker.data.supervision import query_points, supervised_clip, unmatched_clip
from retracker.types import VideoSample


class Source(ABC):
    """Clips without end. ``num_frames`` is the length of each, or None if nobody knows it beforehand."""

    num_frames: int | None

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> VideoSample:
        """One clip; all that is random comes from ``rng``.

        Raises Unusable where others should be drawn, CorruptSample for files that cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class Window:
    """Which frames of a recording make a clip, and how often each scene comes."""

    num_frames: int
    strides: Sequence[int]  # every how many frames of the recording: one is drawn of those that fit into it
    scene_balance: float | int  # 0: each scene as often; 1: each recording; between: scene size ** balance

    def __post_init__(self) -> None:
        if self.num_frames < 1 or not self.strides or min(self.strides) < 1:
            raise ValueError(
                f"window: num_frames and every stride must be at least 1, "
                f"got {self.num_frames} and {list(self.strides)}"
            )


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """How posed pairs of views become clips of two frames, and how often each scene comes."""

    num_points: int
    negative_share: float | int  # of clips whose views show different scenes: nothing is to be found again
    dense: bool  # with the displacement of every pixel
    scene_balance: float | int  # as in Window

    def __post_init__(self) -> None:
        if self.num_points < 1 or not 0 <= self.negative_share <= 1:
            raise ValueError(
                f"pairing: expected at least 1 point and a negative_share in [0, 1], "
                f"got {self.num_points} and {self.negative_share}"
            )


class Plain(Source):
    """Any data set of clips, each as it is; all as often."""

    def __init__(self, dataset: Dataset[VideoSample]) -> None:
        length = getattr(dataset, "num_frames", None)
        self.dataset, self.num_frames = dataset, length if isinstance(length, int) else None
        if len(dataset) == 0:
            raise ValueError(f"{type(dataset).__name__}: an empty data set cannot be trained on")

    def draw(self, rng: np.random.Generator) -> VideoSample:
        index = int(rng.integers(len(self.dataset)))
        with named(index):
            return self.dataset[index]


class Windows(Source):
    """Runs of frames out of recordings: a scene is drawn, a recording of it, a stride and a start.

    A recording that is shorter than a clip at stride 1 is played to and fro: 0 1 2 1 0 1 ... So every clip
    has as many frames as the window asks for.
    """

    def __init__(self, recordings: Recordings, window: Window) -> None:
        self.recordings, self.window, self.num_frames = recordings, window, window.num_frames
        self.scenes = Scenes(map(recordings.scene, range(len(recordings))), window.scene_balance)

    def draw(self, rng: np.random.Generator) -> VideoSample:
        index = self.scenes.draw(rng)
        with named(index):
            length = self.recordings.num_frames(index)
            return self.recordings.read(index, draw_frames(length, self.window, rng))


class PairClips(Source):
    """Posed pairs as clips of two frames: a scene is drawn, a pair of it, and points where depth is known.

    With a chance of ``negative_share`` the second view is one of another scene, which needs two of them.
    """

    num_frames = 2

    def __init__(self, pairs: Pairs, pairing: Pairing) -> None:
        self.pairs, self.pairing = pairs, pairing
        self.scenes = Scenes(map(pairs.scene, range(len(pairs))), pairing.scene_balance)
        if pairing.negative_share > 0 and len(self.scenes) < 2:
            raise ValueError(
                f"pairing.negative_share is {pairing.negative_share}, but all {len(pairs)} pairs "
                f"are of one scene, {pairs.scene(0)}: set it to 0"
            )

    def draw(self, rng: np.random.Generator) -> VideoSample:
        negative = rng.random() < self.pairing.negative_share
        index, other = self.scenes.draw_two(rng) if negative else (self.scenes.draw(rng), None)
        with named(index):
            pair = self.pairs[index] if other is None else self.pairs.negative(index, other)
        xy = query_points(pair, self.pairing.num_points, rng)
        if other is not None:
            return unmatched_clip(pair, xy, dense=self.pairing.dense)
        return supervised_clip(pair, xy, dense=self.pairing.dense)


class Scenes:
    """Draws items scene by scene: a scene by ``size ** balance``, then an item of it, each as often.

    Kept as a few arrays of numbers, so that millions of items cost each worker next to nothing.
    """

    def __init__(self, labels: Iterable[str], balance: float | int) -> None:
        numbers: dict[str, int] = {}
        scene = np.fromiter((numbers.setdefault(label, len(numbers)) for label in labels), np.int32)
        if len(scene) == 0:
            raise ValueError("an empty data set cannot be trained on")
        sizes = np.bincount(scene)
        self.items = np.argsort(scene, kind="stable").astype(np.int32)  # scene by scene
        self.start = np.concatenate([[0], np.cumsum(sizes)])
        self.upto = np.concatenate([[0.0], np.cumsum(sizes.astype(float) ** balance)])  # weights, summed up

    def __len__(self) -> int:
        return len(self.start) - 1

    def draw(self, rng: np.random.Generator) -> int:
        """One item."""
        return self._item(self._scene(rng.random() * self.upto[-1]), rng)

    def draw_two(self, rng: np.random.Generator) -> tuple[int, int]:
        """Two items of different scenes, of which there must be two."""
        first = self._scene(rng.random() * self.upto[-1])
        low, high = self.upto[first], self.upto[first + 1]
        weight = rng.random() * (self.upto[-1] - (high - low))  # along the scenes without the first one
        second = self._scene(weight + (high - low) * (weight >= low))
        second += second == first  # where rounding hits the seam
        return self._item(first, rng), self._item(second % len(self), rng)

    def _scene(self, weight: float) -> int:
        return min(int(np.searchsorted(self.upto, weight, side="right")) - 1, len(self) - 1)

    def _item(self, scene: int, rng: np.random.Generator) -> int:
        return int(self.items[rng.integers(self.start[scene], self.start[scene + 1])])


def draw_frames(length: int, window: Window, rng: np.random.Generator) -> list[int]:
    """The frames of one clip of a recording with so many. Raises ValueError if it has none."""
    if length < 1:
        raise ValueError(f"a recording of {length} frames")
    fitting = [stride for stride in window.strides if (window.num_frames - 1) * stride < length] or [1]
    stride = fitting[rng.integers(len(fitting))]
    latest = max(0, length - 1 - (window.num_frames - 1) * stride)
    frames = rng.integers(latest + 1) + stride * np.arange(window.num_frames)
    return to_and_fro(frames, length).tolist()


def to_and_fro(frames: np.ndarray, length: int) -> np.ndarray:
    """Frames counted beyond the end of a recording, turned back into it: 0 1 2 1 0 1 for a length of 3."""
    phase = frames % max(1, 2 * (length - 1))
    return np.minimum(phase, 2 * (length - 1) - phase)


@contextmanager
def named(index: int) -> Iterator[None]:
    """Say of what cannot be read which sample it is."""
    try:
        yield
    except Unusable:
        raise
    except CORRUPT as error:
        raise CorruptSample(index, error) from error


def as_source(dataset: Dataset | Source, window: Window, pairing: Pairing) -> Source:
    """What draws clips from a data set of any kind; a source stays what it is."""
    if isinstance(dataset, Source):
        return dataset
    if isinstance(dataset, Pairs):
        return PairClips(dataset, pairing)
    return Windows(dataset, window) if isinstance(dataset, Recordings) else Plain(dataset)
