"""Scores as a table on the terminal, as markdown and as json."""

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from rich.table import Column, Table

from retracker.benchmarks.runner import ClipScore, mean

COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "AJ": "average_jaccard",
        "delta_avg": "average_pts_within_thresh",
        "OA": "occlusion_accuracy",
        "PCK@1": "pts_within_1",
        "PCK@2": "pts_within_2",
        "PCK@4": "pts_within_4",
        "PCK@8": "pts_within_8",
        "PCK@16": "pts_within_16",
    }
)
ALL = "all"  # the row of all groups together


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table; ``values`` are percentages in the order of COLUMNS."""

    group: str
    tracker: str
    values: tuple[float, ...]
    frames_per_second: float
    clips: int
    skipped: int


def rows_of(scores: Sequence[ClipScore]) -> list[Row]:
    """One row per group and tracker; with more than one group also one per tracker over all clips."""
    groups = list(dict.fromkeys(score.group for score in scores))
    trackers = list(dict.fromkeys(score.tracker for score in scores))
    rows = [_row(scores, group, tracker) for group in groups for tracker in trackers]
    return rows + [_row(scores, ALL, tracker) for tracker in trackers if len(groups) > 1]


def table_of(rows: Sequence[Row], title: str) -> Table:
    """The rows as a rich table, a rule between groups."""
    table = Table("group", "tracker", *_right(COLUMNS), *_right(["fps", "clips"]), title=title)
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        table.add_row(*_cells(row), end_section=after is None or after.group != row.group)
    return table


def markdown_of(rows: Sequence[Row], title: str) -> str:
    """The rows as a markdown table under a heading."""
    head = ["group", "tracker", *COLUMNS, "fps", "clips"]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *map(_cells, rows)]
    return f"## {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write(scores: Sequence[ClipScore], rows: Sequence[Row], title: str, directory: Path) -> None:
    """Write table.md and scores.json (means in percent, the metrics of every clip in [0, 1])."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "table.md").write_text(markdown_of(rows, title))
    content = {
        "title": title,
        "means": [
            dataclasses.asdict(row) | {"values": dict(zip(COLUMNS, row.values, strict=True))} for row in rows
        ],
        "clips": [_per_clip(score) for score in scores],
    }
    (directory / "scores.json").write_text(json.dumps(content, indent=2) + "\n")


def _row(scores: Sequence[ClipScore], group: str, tracker: str) -> Row:
    average = mean([s for s in scores if s.tracker == tracker and group in (ALL, s.group)])
    return Row(
        group=group,
        tracker=tracker,
        values=tuple(100 * average.metrics[name] for name in COLUMNS.values()),
        frames_per_second=average.frames_per_second,
        clips=average.clips,
        skipped=average.skipped,
    )


def _cells(row: Row) -> list[str]:
    clips = f"{row.clips} ({row.skipped} left out)" if row.skipped else str(row.clips)
    return [
        row.group,
        row.tracker,
        *(f"{value:.1f}" for value in row.values),
        f"{row.frames_per_second:.0f}",
        clips,
    ]


def _right(names: Iterable[str]) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _per_clip(score: ClipScore) -> dict:
    metrics = {name: None if math.isnan(value) else value for name, value in score.metrics.items()}
    return dataclasses.asdict(score) | {"metrics": metrics}  # json knows no NaN
