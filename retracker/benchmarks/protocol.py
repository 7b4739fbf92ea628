"""What a benchmark is: items, a question to a method about each of them, and a score for its answer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.types import TensorStruct

Item = TypeVar("Item")
Answer = TypeVar("Answer")
ALL = "all"  # the group of all items
Scores = Mapping[str, float]  # of one item: NaN where the item has nothing to measure it on


@dataclass(frozen=True, kw_only=True)
class Tracked(TensorStruct):
    """One clip's answer."""

    tracks: Float[Tensor, "T N 2"]  # px
    visible: Bool[Tensor, "T N"]
    confidence: Float[Tensor, "T N"]


@dataclass(frozen=True, kw_only=True)
class Matched(TensorStruct):
    """One pair's answer: correspondences, in raster px of the two images that were given."""

    points0: Float[Tensor, "M 2"]
    points1: Float[Tensor, "M 2"]
    confidence: Float[Tensor, " M"]  # higher: surer; of no fixed scale
    # All that were found, matched or not, of a method that finds keypoints: what its matching score is of.
    keypoints0: Float[Tensor, "K0 2"] | None = None
    keypoints1: Float[Tensor, "K1 2"] | None = None


# (video UInt8[T 3 H W], queries Float[N 3] = (t, x, y) px) -> Tracked, in pixels of the video it was given
Tracker = Callable[[Tensor, Tensor], Tracked]
# (image0 UInt8[3 H0 W0], image1 UInt8[3 H1 W1]) -> Matched, in pixels of the images it was given
Matcher = Callable[[Tensor, Tensor], Matched]


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A method under the name that tables show."""

    name: str
    method: Tracker | Matcher
    settings: Mapping[str, Any] = field(default_factory=dict)  # what it was built from, for the records


@dataclass(frozen=True, kw_only=True)
class Column:
    """One number of a benchmark, as tables show it."""

    heading: str
    metric: str
    percent: bool = True  # kept in [0, 1], shown times 100; otherwise shown as it is
    better: str = "higher"  # or "lower"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A score over thresholds, to be plotted: ``metrics[i]`` is what is reached at ``thresholds[i]``."""

    title: str
    thresholds: tuple[float | int, ...]
    unit: str  # of the thresholds
    metrics: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A method's scores over all items."""

    values: Scores
    undefined: Mapping[str, Sequence[str]]  # by metric, the items that it could not be measured on


class Benchmark(ABC, Generic[Item, Answer]):
    """The items of one benchmark in a fixed order, and its protocol to the last detail.

    Making one lists what is there and raises FileNotFoundError or ValueError, in one sentence, where that is
    not the benchmark. Reading an item raises OSError or ValueError, naming the file.
    """

    kind: ClassVar[str]  # "tracker" or "matcher": what competes, and the config group that it is chosen from
    usual_baselines: ClassVar[Sequence[str]]  # names of that group
    name: str  # of its yaml, and of its entries in published.yaml
    title: str  # for people: "TAP-Vid DAVIS, first"
    protocol: Mapping[str, Any]  # all that the meaning of its numbers depends on; json
    columns: Sequence[Column]  # of its own table
    headline: Sequence[Column]  # of the table of all benchmarks: the few that papers report
    curves: Sequence[Curve] = ()
    ranked_by: str  # the metric that tells good items from bad ones; higher is better

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def item_name(self, index: int) -> str:
        """What the benchmark calls an item; no two are called the same."""

    def group(self, index: int) -> str:
        """What an item is also averaged by, where a benchmark has groups: "hard", "viewpoint", a scene."""
        del index
        return ALL

    @abstractmethod
    def read(self, index: int) -> Item: ...

    @abstractmethod
    def size(self, item: Item) -> int:
        """How many frames (or 1 for a pair): what speed is counted in."""

    @abstractmethod
    def ask(self, method: Tracker | Matcher, item: Item) -> Answer:
        """A method's answer. Raises ValueError for a malformed one."""

    @abstractmethod
    def score(self, item: Item, answer: Answer) -> Scores: ...

    def summarise(self, scores: Mapping[str, Scores]) -> Summary:
        """All items' scores, by name, as one: the plain mean of each metric where it is defined."""
        return plain_means(scores)

    @abstractmethod
    def arrays(self, item: Item, answer: Answer) -> Mapping[str, np.ndarray]:
        """What is stored of an answer where predictions are asked for."""

    @abstractmethod
    def picture(self, item: Item, answer: Answer, path: Path) -> Path:
        """Draw answer and truth; ``path`` has no suffix yet. Returns the file."""


def plain_means(scores: Mapping[str, Scores]) -> Summary:
    """The unweighted mean over items of each metric, without those where it is NaN, which are named.

    A metric that is defined nowhere stays NaN. Raises ValueError if there is no item.
    """
    if not scores:
        raise ValueError("no item was evaluated, so there is no mean")
    values, undefined = {}, {}
    for metric in next(iter(scores.values())):
        found = {name: of_item[metric] for name, of_item in scores.items()}
        known = [value for value in found.values() if not math.isnan(value)]
        values[metric] = sum(known) / len(known) if known else math.nan
        missing = [name for name, value in found.items() if math.isnan(value)]
        if missing:
            undefined[metric] = missing
    return Summary(values=values, undefined=undefined)
