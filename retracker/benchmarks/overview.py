"""What the one table of many benchmarks says: of each its few main numbers, with the best published ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from retracker.benchmarks.protocol import ALL
from retracker.benchmarks.published import Listing, Published
from retracker.benchmarks.results import Results
from retracker.benchmarks.sheet import (
    Citations,
    best_first,
    count_of,
    label_of,
    measured_value,
    name_of,
    notes_of,
    published_mark,
    published_value,
    weights_of,
)

HEADINGS = ("benchmark", "metrics", "method", "values", "from")
BEST_ONLINE = 4  # of the published methods that answer each frame at once, as ReTracker does
CHOICE = (
    f"published: the best of all and the best {BEST_ONLINE} online ones (where there is such a thing) under "
    f"the same protocol; every number that was found is in the benchmark's own table.md"
)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line."""

    cells: tuple[str, str, str, str, str]  # under HEADINGS
    kind: str  # measured, chosen or published
    first: bool  # of its benchmark


def entries_of(runs: Sequence[Results], published: Mapping[str, Listing]) -> tuple[list[Entry], list[str]]:
    """The lines, and the footnotes."""
    citations, entries, notes, shown = Citations(), [], [], []
    for results in runs:
        listing = published.get(results.benchmark.name)
        chosen = best_of(results, listing.rows if listing else ())
        entries += _entries(results, chosen, citations)
        notes += [f"{results.benchmark.title}: {note}" for note in notes_of(results)]
        shown += chosen
    weights = dict.fromkeys(note for results in runs for note in weights_of(results))
    return entries, [*weights, *notes, *published_mark(shown), CHOICE, *citations.notes()]


def best_of(results: Results, rows: Sequence[Published]) -> list[Published]:
    """The few rows that are shown, best first: all of them comparable with the run, with a first number."""
    benchmark = results.benchmark
    main = benchmark.headline[0]
    ranked = [
        row
        for row in best_first(rows, main)
        if main.metric in row.values and row.unlike(benchmark.protocol) is None
    ]
    by_method: dict[str, Published] = {}
    for row in ranked:
        by_method.setdefault(row.method, row)  # of two sources, the better
    once = list(by_method.values())
    online = [row.method for row in once if row.online in ("frame", None)][:BEST_ONLINE]
    return [row for row in once if row is once[0] or row.method in online]


def _entries(results: Results, rows: Sequence[Published], citations: Citations) -> Iterator[Entry]:
    columns = results.benchmark.headline
    about = (
        f"{results.benchmark.title}: {count_of(results)}",
        " / ".join(column.heading for column in columns),
    )
    for standing in results.standings:
        values = standing.summaries[ALL].values
        shown = " / ".join(measured_value(c, values.get(c.metric, math.nan)) for c in columns)
        yield Entry(
            cells=(*about, name_of(standing), shown, "here"),
            kind="chosen" if standing is results.standings[-1] else "measured",
            first=standing is results.standings[0],
        )
    for row in rows:
        shown = " / ".join(published_value(column, row.values) for column in columns)
        yield Entry(cells=(*about, label_of(row), shown, citations.of(row)), kind="published", first=False)
