"""What a run of a benchmark comes to: scores, their means, and all that one must know to trust them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retracker.benchmarks.protocol import ALL, Benchmark, Scores, Summary

INDEPENDENT_PX = 1e-2  # at 256 x 256: farther apart than rounding takes a point that was asked for alone


@dataclass(frozen=True, kw_only=True)
class Independence:
    """How far answers went when points were asked for alone."""

    largest_px: float  # at 256 x 256; infinite where a point was visible in one answer only
    videos: int
    points: int  # of each

    @property
    def passed(self) -> bool:
        """Whether that is no more than rounding."""
        return self.largest_px <= INDEPENDENT_PX


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What one contestant reached."""

    name: str
    settings: Mapping[str, Any]
    scores: Mapping[str, Scores]  # by item
    summaries: Mapping[str, Summary]  # by group; that of all items is called "all", and last
    independence: Independence | None  # None: was not checked
    per_second: float | None  # frames, or pairs; None where nothing was timed


@dataclass(frozen=True, kw_only=True)
class Results:
    """A whole run."""

    benchmark: Benchmark
    groups: Mapping[str, str]  # of each item
    standings: Sequence[Standing]  # the contestant that was chosen is last, its baselines are before it
    of_items: int  # that the benchmark has; more than were evaluated where the run was limited
    versions: Mapping[str, str]


def summaries_of(
    benchmark: Benchmark, scores: Mapping[str, Scores], groups: Mapping[str, str]
) -> dict[str, Summary]:
    """The summary of each group, in the order of the items, and of all."""
    names = [group for group in dict.fromkeys(groups.values()) if group != ALL]
    members = {group: [item for item in scores if groups[item] == group] for group in names}
    chosen = members if len(names) > 1 else {}
    found = {
        group: benchmark.summarise({item: scores[item] for item in items}) for group, items in chosen.items()
    }
    return found | {ALL: benchmark.summarise(scores)}


def as_json(results: Results) -> dict[str, Any]:
    """The content of results.json: nothing in it depends on when or where the run was made."""
    benchmark = results.benchmark
    return {
        "benchmark": benchmark.name,
        "title": benchmark.title,
        "protocol": dict(benchmark.protocol),
        "ranked_by": benchmark.ranked_by,
        "columns": {
            column.metric: {"heading": column.heading, "percent": column.percent, "better": column.better}
            for column in benchmark.columns
        },
        "evaluated_items": len(results.groups),
        "of_items": results.of_items,
        "versions": dict(results.versions),
        "groups": dict(results.groups),
        "contestants": {standing.name: _standing(standing) for standing in results.standings},
    }


def _standing(standing: Standing) -> dict[str, Any]:
    independence = standing.independence
    return {
        "settings": dict(standing.settings),
        "means": {group: finite(summary.values) for group, summary in standing.summaries.items()},
        "undefined": {metric: list(items) for metric, items in standing.summaries[ALL].undefined.items()},
        "independence": independence
        and {
            "largest_px_at_256": None if math.isinf(independence.largest_px) else independence.largest_px,
            "videos": independence.videos,
            "points_of_each": independence.points,
            "passed": independence.passed,
        },
        "items": {item: finite(scores) for item, scores in standing.scores.items()},
    }


def finite(scores: Scores) -> dict[str, float | str | None]:
    """Numbers that json knows: null for NaN, and "inf" for an error without bound."""
    return {
        metric: None if math.isnan(value) else "inf" if math.isinf(value) else value
        for metric, value in scores.items()
    }


def restored(scores: Mapping[str, float | str | None]) -> dict[str, float]:
    """What ``finite`` was given."""
    return {metric: math.nan if value is None else float(value) for metric, value in scores.items()}
