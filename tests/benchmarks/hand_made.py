"""Results of benchmarks that were never run: scores that a test chooses."""

import math

from retracker.benchmarks.protocol import Column
from retracker.benchmarks.results import Results, Standing, summaries_of
from retracker.benchmarks.tracking import TrackBenchmark


class Videos(TrackBenchmark):
    """A benchmark of nothing but a name, a protocol, and TAP-Vid's columns."""

    name = "tapvid_davis"
    title = "TAP-Vid DAVIS, first"
    protocol = {"query_mode": "first", "input": "256 x 256"}

    def __len__(self):
        return 30

    def item_name(self, index):
        return f"clip{index}"

    def read(self, index):
        raise AssertionError(f"reports are made of scores alone, yet item {index} was read")


class Pairs(Videos):
    """As MegaDepth-1500: areas, and counts that are no percentages."""

    kind = "matcher"
    name = "megadepth1500"
    title = "MegaDepth-1500 (roma: opencv, 0.5 px)"
    protocol = {
        "preset": "roma",
        "solver": "opencv",
        "thresholds_px": [0.5],
        "shuffle": True,
        "samples": None,
    }
    headline = tuple(Column(heading=f"AUC@{d}", metric=f"exact_auc_{d}") for d in (5, 10, 20))
    columns = (
        *headline,
        Column(heading="precision", metric="epipolar_precision"),
        Column(heading="matches", metric="matches", percent=False),
        Column(heading="inliers", metric="inliers", percent=False),
        *(Column(heading=f"approx@{d}", metric=f"approximate_auc_{d}") for d in (5, 10, 20)),
    )


def standing(benchmark, name, scores, *, groups=None, independence=None, per_second=None, settings=None):
    groups = groups or dict.fromkeys(scores, "all")
    return Standing(
        name=name,
        settings=settings or {},
        scores=scores,
        summaries=summaries_of(benchmark, scores, groups),
        independence=independence,
        per_second=per_second,
    )


def scores(benchmark, value, count=4, **others):
    """The same value for every metric of every item, but for ``others``: by metric, one for each item."""
    metrics = [column.metric for column in benchmark.columns]
    return {f"clip{i}": {m: others[m][i] if m in others else value for m in metrics} for i in range(count)}


def results(benchmark, standings, of_items=None, groups=None):
    items = list(standings[0].scores)
    return Results(
        benchmark=benchmark,
        groups=groups or dict.fromkeys(items, "all"),
        standings=standings,
        of_items=of_items or len(items),
        versions={},
    )


NAN = math.nan
