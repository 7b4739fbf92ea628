"""A metric of a whole benchmark, taken apart into what each item gives to it: so items can be resampled."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile

import numpy as np
from jaxtyping import Bool, Float64

from retracker.benchmarks.pose_protocol import error_key
from retracker.metrics.bootstrap import Measure, exact_area, plain_mean
from retracker.metrics.pose import BIN


@dataclass(frozen=True, kw_only=True)
class ItemScores:
    """One run's scores on N items."""

    label: str  # what ``shown`` are: the metric itself, or the error that it is made from
    shown: Float64[np.ndarray, " N"]
    measure: Measure

    @property
    def defined(self) -> Bool[np.ndarray, " N"]:
        return ~np.isnan(self.shown) & ~np.isnan(self.measure.values)

    def at(self, chosen: Bool[np.ndarray, " N"]) -> "ItemScores":
        """Those of some items."""
        measure = Measure(values=self.measure.values[chosen], tips=self.measure.tips[chosen])
        return ItemScores(label=self.label, shown=self.shown[chosen], measure=measure)


def item_scores(items: Sequence[Mapping[str, float]], metric: str, means: Mapping[str, float]) -> ItemScores:
    """What items give to a metric; ``means``: the run's scores over all of its items.

    A metric that items have is averaged. Areas and shares are made from the errors of items, as the
    benchmarks of pose and homographies do. Raises ValueError if it is neither.
    """
    if all(metric in scores for scores in items):
        values = np.array([scores[metric] for scores in items])
        infinite = int(np.isinf(values).sum())
        if infinite:
            raise ValueError(
                f"{metric} is infinite on {infinite} items, which have no mean; choose an area such as "
                f"{next((name for name in means if 'auc' in name), 'exact_auc_5')}"
            )
        return ItemScores(label=metric, shown=values, measure=plain_mean(values))
    for pattern, read, measure in MADE_OF_ERRORS:
        match = re.fullmatch(pattern, metric)
        if match:
            label, errors = read(items, match, means)
            return ItemScores(
                label=label, shown=np.median(errors, axis=-1), measure=measure(errors, int(match["limit"]))
            )
    raise ValueError(f"there is no {metric} that items could be compared by; there is {_known(items, means)}")


def approximate_area(errors: Float64[np.ndarray, "N R"], threshold: int) -> Measure:
    """The mean of the shares below 5, 10, ... degrees."""
    edges = np.arange(BIN, threshold + 1, BIN)
    return plain_mean((errors[..., None] < edges).mean((-1, -2)))


def share_below(errors: Float64[np.ndarray, "N R"], threshold: int) -> Measure:
    """The share of errors below a threshold."""
    return plain_mean((errors < threshold).mean(-1))


def share_within(errors: Float64[np.ndarray, "N R"], threshold: int) -> Measure:
    """The share of errors that are not above a threshold."""
    return plain_mean((errors <= threshold).mean(-1))


def _pose_errors(
    items: Sequence[Mapping[str, float]], match: re.Match, means: Mapping[str, float]
) -> tuple[str, Float64[np.ndarray, "N R"]]:
    """Those of every run of the solver, at the threshold that the scores of the whole are reported for."""
    keys = (error_key(means.get("threshold_px", np.nan), run) for run in count())
    return "pose_error", _errors(items, list(takewhile(items[0].__contains__, keys)), match.string)


def _corner_errors(
    items: Sequence[Mapping[str, float]], match: re.Match, means: Mapping[str, float]
) -> tuple[str, Float64[np.ndarray, "N R"]]:
    del means
    key = f"{match['kind'] or ''}corner_error"
    return key, _errors(items, [key], match.string)


def _errors(
    items: Sequence[Mapping[str, float]], keys: Sequence[str], metric: str
) -> Float64[np.ndarray, "N R"]:
    if not keys or not all(key in scores for scores in items for key in keys):
        raise ValueError(f"{metric} cannot be made anew: items have no errors that it is made from")
    return np.array([[scores[key] for key in keys] for scores in items])


Reader = Callable[..., tuple[str, Float64[np.ndarray, "N R"]]]
Maker = Callable[[Float64[np.ndarray, "N R"], int], Measure]
MADE_OF_ERRORS: Sequence[tuple[str, Reader, Maker]] = (
    (r"exact_auc_(?P<limit>\d+)", _pose_errors, exact_area),
    (r"approximate_auc_(?P<limit>\d+)", _pose_errors, approximate_area),
    (r"share_below_(?P<limit>\d+)", _pose_errors, share_below),
    (r"(?P<kind>linear_)?exact_auc_(?P<limit>\d+)px", _corner_errors, exact_area),
    (r"corners_within_(?P<limit>\d+)(?P<kind>)", _corner_errors, share_within),
)


def _known(items: Sequence[Mapping[str, float]], means: Mapping[str, float]) -> str:
    made = [name for name in means if any(re.fullmatch(pattern, name) for pattern, _, _ in MADE_OF_ERRORS)]
    own = [name for name in items[0] if not name.startswith("pose_error_")]
    return ", ".join(dict.fromkeys([*own, *made]))
