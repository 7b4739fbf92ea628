"""Results as tables on the terminal and as markdown, beside what others published."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from retracker.benchmarks.overview import HEADINGS, entries_of
from retracker.benchmarks.protocol import ALL
from retracker.benchmarks.published import Listing
from retracker.benchmarks.results import Results
from retracker.benchmarks.sheet import Line, Sheet, count_of, sheet_of
from retracker.visualize.curves import Panel
from retracker.visualize.curves import write_curves as write_png

MOST = 10  # comparable published rows on the terminal; a file has all
NAME_WIDTH = 32  # columns; with less for names, headings are broken into lines
LEAST_NAME_WIDTH = 20  # with less, the last columns are left to the file
BREAKS = r"(?<=\w)(?=@)|(?<=\w)_| "  # as in AUC@20, delta_avg and <1 px
STYLES = {"heading": "italic", "measured": "", "chosen": "bold", "published": "dim"}
EMPHASIS = {"heading": "*{}*", "measured": "{}", "chosen": "**{}**", "published": "{}"}


def table_of(results: Results, published: Mapping[str, Listing], width: int = 120) -> Table:
    """A run's table for a terminal so many columns wide; ``published``: by the name of the benchmark."""
    sheet = sheet_of(results, published.get(results.benchmark.name), most=MOST)
    headings = [*sheet.headings, sheet.speed, "from"]
    rows = [_cells(sheet, line, [line.speed]) for line in sheet.lines]
    if width - _width(headings, rows) < NAME_WIDTH:
        headings = [re.sub(BREAKS, "\n", heading) for heading in headings]
    missing = []
    while width - _width(headings, rows) < LEAST_NAME_WIDTH and len(headings) > 3:  # one value, speed, from
        missing.insert(0, sheet.headings[len(headings) - 3])
        headings.pop(-3)
        rows = [[*row[:-3], *row[-2:]] for row in rows]
    more = [f"no room here for {', '.join(missing)}: see table.md"] if missing else []
    table = _table(sheet.title, sheet.protocol, [*sheet.notes, *more])
    table.add_column("")
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for index, (line, row) in enumerate(zip(sheet.lines, rows, strict=True)):
        last = index + 1 == len(rows) or sheet.lines[index + 1].kind == "heading"
        table.add_row(*map(Text, row), style=STYLES[line.kind], end_section=last)
    return table


def markdown_of(results: Results, published: Mapping[str, Listing]) -> str:
    """A run's table for a file: the same, without speed, which differs from run to run."""
    sheet = sheet_of(results, published.get(results.benchmark.name))
    rows = [_cells(sheet, line, []) for line in sheet.lines]
    names = [EMPHASIS[line.kind].format(row[0]) for line, row in zip(sheet.lines, rows, strict=True)]
    body = [[name, *row[1:]] for name, row in zip(names, rows, strict=True)]
    table = _markdown(["", *sheet.headings, "from"], "l" + "r" * (len(sheet.headings) + 1), body)
    return _document(sheet.title, sheet.protocol, table, sheet.notes)


def overview_of(results: Sequence[Results], published: Mapping[str, Listing]) -> tuple[Table, str]:
    """The one table of many benchmarks, for the terminal and as markdown."""
    entries, notes = entries_of(results, published)
    title = "all benchmarks"
    table = _table(title, "", notes)
    for heading in HEADINGS:
        table.add_column(heading, no_wrap=heading in ("values", "from"))
    for index, entry in enumerate(entries):
        last = index + 1 == len(entries) or entries[index + 1].first
        about = entry.cells[:2] if entry.first else ("", "")
        table.add_row(*map(Text, (*about, *entry.cells[2:])), style=STYLES[entry.kind], end_section=last)
    body = [
        [*entry.cells[:2], EMPHASIS[entry.kind].format(entry.cells[2]), *entry.cells[3:]] for entry in entries
    ]
    return table, _document(title, "", _markdown(HEADINGS, "lllll", body), notes)


def write_curves(results: Results, path: Path) -> Path:
    """Draw the benchmark's curves, one line for each contestant, as a PNG."""
    panels = [
        Panel(
            title=curve.title,
            thresholds=curve.thresholds,
            unit=curve.unit,
            lines={
                standing.name: [
                    standing.summaries[ALL].values.get(metric, math.nan) for metric in curve.metrics
                ]
                for standing in results.standings
            },
        )
        for curve in results.benchmark.curves
    ]
    return write_png(path, f"{results.benchmark.title}: {count_of(results)}", panels)


def _table(title: str, protocol: str, notes: Sequence[str]) -> Table:
    above = Text.assemble((title, "bold"), *([("\n" + protocol, "dim")] if protocol else []))
    return Table(
        title=above,
        title_style="",
        title_justify="left",
        caption=Text("\n".join(notes)),
        caption_style="dim",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )


def _width(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """What all columns but the first take, with the space around them."""
    columns = zip(*(row[1:] for row in rows), strict=True)
    widest = [
        max(map(len, [*heading.split("\n"), *cells]))
        for heading, cells in zip(headings, columns, strict=True)
    ]
    return sum(width + 2 for width in widest) + 1


def _cells(sheet: Sheet, line: Line, speed: Sequence[str]) -> list[str]:
    """A line under name, values, speed (if that is wanted) and source."""
    values = line.values or [""] * len(sheet.headings)
    return [line.name, *values, *speed, line.source]


def _markdown(headings: Sequence[str], sides: str, rows: Sequence[Sequence[str]]) -> str:
    """``sides``: l or r of each column."""
    rule = ["---:" if side == "r" else "---" for side in sides]
    lines = [list(headings), rule, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _document(title: str, protocol: str, table: str, notes: Sequence[str]) -> str:
    parts = [f"## {title}", protocol, table, "\n".join(f"- {note}" for note in notes)]
    return "\n\n".join(part for part in parts if part) + "\n"
