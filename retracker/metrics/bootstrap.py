"""Whether two methods differ by more than noise: a paired bootstrap over the items of a benchmark."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

BLOCK = 2_000_000  # drawn items that are held at once
INTERVAL = (2.5, 97.5)  # percent
NORMAL = 1.959964  # the quantile of the normal distribution at its upper end


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A score of a set of items: the mean of ``values``, and the largest of ``tips`` over their number.

    Plain means have no tips. The exact area under a recall curve (see ``metrics.pose``) has: with straight
    lines between its points it is, for errors e and threshold t, mean(max(0, 1 - e/t)) + e_last / (2 n t),
    where e_last is the largest error below t.
    """

    values: Float64[np.ndarray, " N"]
    tips: Float64[np.ndarray, " N"]

    @property
    def score(self) -> float:
        """That of all items."""
        return float(self.of(np.arange(len(self.values))[None])[0])

    def of(self, items: Int64[np.ndarray, "S M"]) -> Float64[np.ndarray, " S"]:
        """The scores of sets of items, each a row of their indices."""
        return self.values[items].mean(-1) + self.tips[items].max(-1) / items.shape[-1]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much B's score is above A's."""

    observed: float
    low: float  # of the 95 % interval
    high: float
    p: float  # two-sided: how often chance alone makes such a difference
    share_above: float  # of the resamples in which B's score is above A's

    @property
    def beyond_noise(self) -> bool:
        return self.p < 0.05


def plain_mean(values: Float64[np.ndarray, " N"]) -> Measure:
    """The mean of one value for each item."""
    return Measure(values=values, tips=np.zeros_like(values))


def exact_area(errors: Float64[np.ndarray, "N R"], threshold: float | int) -> Measure:
    """The exact AUC of the errors of all items, each with R of them, which are pooled; a failure is inf."""
    below = errors < threshold
    closeness = np.where(below, 1 - np.where(below, errors, 0) / threshold, 0)
    last = np.where(below, errors, 0).max(-1)
    return Measure(values=closeness.mean(-1), tips=last / (2 * threshold * errors.shape[-1]))


def paired_bootstrap(a: Measure, b: Measure, samples: int, rng: np.random.Generator) -> Difference:
    """How sure it is that B's score is another than A's, had the items been others of their kind.

    Both measure the same items in the same order. Raises ValueError for fewer than two items or samples.
    """
    count = len(a.values)
    if len(b.values) != count or count < 2 or samples < 2:
        raise ValueError(
            f"expected at least 2 resamples of at least 2 items that both were scored on, got {samples} of "
            f"{count} and {len(b.values)}"
        )
    observed = b.score - a.score
    rows = max(1, BLOCK // count)
    drawn = []
    for start in range(0, samples, rows):
        items = rng.integers(count, size=(min(rows, samples - start), count))
        drawn.append(b.of(items) - a.of(items))
    resampled = np.concatenate(drawn)
    spread = observed + (resampled - observed) * _expansion(count)
    low, high = np.percentile(spread, INTERVAL)
    return Difference(
        observed=observed,
        low=float(low),
        high=float(high),
        p=_two_sided(spread),
        share_above=float(np.mean(resampled > 0)),
    )


def _expansion(count: int) -> float:
    """By how much resampled means of few items spread too little, so that noise would pass for a difference.

    Hesterberg's expanded percentile interval: sqrt(n / (n - 1)), and Student's quantile over the normal one
    (by its series in 1 / (n - 1)).
    """
    free, z2 = count - 1, NORMAL**2
    student = 1 + (z2 + 1) / (4 * free) + (5 * z2**2 + 16 * z2 + 3) / (96 * free**2)
    return float(np.sqrt(count / free) * student)


def _two_sided(resampled: np.ndarray) -> float:
    """Twice the smaller tail beyond zero; never zero, as there is always one more sample to be drawn."""
    tails = ((resampled <= 0).sum(), (resampled >= 0).sum())
    return float(min(1.0, 2 * (min(tails) + 1) / (len(resampled) + 1)))
