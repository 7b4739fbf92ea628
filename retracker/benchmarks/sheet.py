"""What the table of a benchmark says, before it is drawn: measured lines, published ones, and footnotes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from retracker.benchmarks.protocol import ALL, Benchmark, Column
from retracker.benchmarks.published import Listing, Published
from retracker.benchmarks.results import Independence, Results, Standing

UNKNOWN = "–"
DEPENDS = "†"  # behind a name: see the footnote
SHOWN_NAMES = 3  # of items, where many are undefined
RULE = "its answer for a point depends on other points: not a valid entry by the benchmark's rules"
WORDS = {"tracker": "videos", "matcher": "pairs"}
SPEEDS = {"tracker": "frames/s", "matcher": "pairs/s"}
DIGITS = 12  # of a checkpoint's digest: enough to tell it from any other
THRESHOLDS = ("visible_threshold", "match_threshold")  # settings that are told where they are given


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line: a heading, or a name with its values."""

    name: str
    kind: str  # heading, measured, chosen (the contestant that all is about) or published
    values: Sequence[str] = ()  # in the order of the columns
    speed: str = ""
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All of a table."""

    title: str
    protocol: str
    headings: Sequence[str]  # of the columns with values
    speed: str  # heading of the column of speeds
    lines: Sequence[Line]
    notes: Sequence[str]


class Citations:
    """Numbers for sources, in the order in which they are first cited."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, row: Published) -> str:
        """The sources of a row, as in "[1, 2]"."""
        cited = [self.numbers.setdefault(str(source), len(self.numbers) + 1) for source in row.sources]
        return f"[{', '.join(map(str, cited))}]"

    def notes(self) -> list[str]:
        return [f"[{number}] {source}" for source, number in self.numbers.items()]


def sheet_of(results: Results, listing: Listing | None, most: int | None = None) -> Sheet:
    """The table of a run; ``listing``: what is published of the benchmark, of which the ``most`` best
    comparable rows and half as many others are shown."""
    benchmark, citations = results.benchmark, Citations()
    bands = _bands(benchmark, listing.rows if listing else (), most)
    lines = [*_measured(results), *_published(benchmark, bands, citations)]
    shown = [row for band in bands for row in band]
    return Sheet(
        title=f"{benchmark.title}: {count_of(results)}",
        protocol="; ".join(f"{key}: {in_words(value)}" for key, value in benchmark.protocol.items()),
        headings=[column.heading for column in benchmark.columns],
        speed=SPEEDS[benchmark.kind],
        lines=lines,
        notes=[
            *weights_of(results),
            *notes_of(results),
            *published_mark(shown),
            *_not_shown(benchmark, listing, len(shown)),
            *citations.notes(),
        ],
    )


def count_of(results: Results) -> str:
    """How many items were evaluated: "30 videos", "5 of 30 videos"."""
    evaluated, words = len(results.groups), WORDS[results.benchmark.kind]
    limited = evaluated < results.of_items
    return f"{evaluated} of {results.of_items} {words}" if limited else _counted(evaluated, words)


def in_words(value: object) -> str:
    """A value of a protocol."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return ", ".join(map(in_words, value)) if isinstance(value, list | tuple) else str(value)


def measured_value(column: Column, value: float) -> str:
    """A number that was measured: percent with one decimal, others with some three digits."""
    if math.isnan(value):
        return UNKNOWN
    return f"{100 * value:.1f}" if column.percent else _plain(value)


def published_value(column: Column, values: Mapping[str, float]) -> str:
    """A number that was published; a percentage is one already."""
    if column.metric not in values:
        return UNKNOWN
    value = values[column.metric]
    return f"{value:.1f}" if column.percent else _plain(value)


def notes_of(results: Results) -> Iterator[str]:
    """Who passed the check of independence and who did not, and what could not be measured."""
    yield from _independence(results)
    yield from _undefined(results)


def published_mark(shown: Sequence[Published]) -> list[str]:
    """What the mark means behind a published method, where there is one."""
    note = f"{DEPENDS} of a published method: {RULE} (from reading its code)"
    return [note] if any(row.depends for row in shown) else []


def name_of(standing: Standing) -> str:
    """A contestant's name, marked if its answers depend on one another."""
    failed = standing.independence is not None and not standing.independence.passed
    return f"{standing.name}{DEPENDS}" if failed else standing.name


def label_of(row: Published) -> str:
    """A published method with year, whether it is online, and the mark."""
    facts = [str(row.year)] if row.year else []
    facts += {"frame": ["online"], "windows": ["in windows"]}.get(row.online or "", [])
    name = f"{row.method}{DEPENDS}" if row.depends else row.method
    return f"{name} ({', '.join(facts)})" if facts else name


def best_first(rows: Sequence[Published], column: Column) -> list[Published]:
    """The rows by a column, those without a value last."""
    sign = -1.0 if column.better == "higher" else 1.0
    return sorted(rows, key=lambda row: sign * row.values.get(column.metric, sign * math.inf))


def _plain(value: float) -> str:
    if math.isinf(value):
        return "inf"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def _measured(results: Results) -> Iterator[Line]:
    words = WORDS[results.benchmark.kind]
    members = list(results.groups.values())
    groups = list(results.standings[0].summaries) if results.standings else []
    for group in groups:
        if len(groups) > 1:
            count = len(members) if group == ALL else members.count(group)
            yield Line(name=f"{group} ({_counted(count, words)})", kind="heading")
        for standing in results.standings:
            values = standing.summaries[group].values
            cells = [measured_value(c, values.get(c.metric, math.nan)) for c in results.benchmark.columns]
            timed = group == ALL and standing.per_second is not None
            yield Line(
                name=name_of(standing),
                kind="chosen" if standing is results.standings[-1] else "measured",
                values=cells,
                speed=_plain(standing.per_second or 0.0) if timed else "",
                source="here",
            )


def _bands(
    benchmark: Benchmark, rows: Sequence[Published], most: int | None
) -> tuple[list[Published], list[Published]]:
    """The published rows that are comparable with the run, and those that are not; the best first."""
    ranked = [row for row in best_first(rows, benchmark.headline[0]) if _fits(row, benchmark)]
    alike = [row for row in ranked if row.unlike(benchmark.protocol) is None]
    others = [row for row in ranked if row.unlike(benchmark.protocol) is not None]
    return (alike, others) if most is None else (alike[:most], others[: most // 2])


def _fits(row: Published, benchmark: Benchmark) -> bool:
    return any(column.metric in row.values for column in benchmark.columns)


def _published(
    benchmark: Benchmark, bands: tuple[list[Published], list[Published]], citations: Citations
) -> Iterator[Line]:
    for band, heading in zip(bands, ("published", "published, not comparable"), strict=True):
        if band:
            yield Line(name=heading, kind="heading")
        for row in band:
            unlike = row.unlike(benchmark.protocol)
            yield Line(
                name=label_of(row) + (f": {unlike}" if unlike else ""),
                kind="published",
                values=[published_value(column, row.values) for column in benchmark.columns],
                source=citations.of(row),
            )


def _independence(results: Results) -> Iterator[str]:
    """One note for each contestant that failed the check, and one for all that passed it."""
    passed = []
    for standing in results.standings:
        checked = standing.independence
        if checked is not None and checked.passed:
            passed.append(standing)
        elif checked is not None:
            yield f"{DEPENDS} {standing.name}: {RULE} ({_asked(checked)}: {_largest(checked)})"
    if passed:
        checks = [standing.independence for standing in passed]
        largest = _largest(max(checks, key=lambda check: check.largest_px))
        names = ", ".join(standing.name for standing in passed)
        yield f"passed the independence check: {names} ({_asked(checks[0])}: {largest})"


def _asked(checked: Independence) -> str:
    points = "1 point" if checked.points == 1 else f"{checked.points} points"
    return f"{points} of each of {_counted(checked.videos, 'videos')} asked for alone"


def _largest(checked: Independence) -> str:
    if math.isinf(checked.largest_px):
        return "visible in one answer only"
    return f"largest difference {checked.largest_px:.2g} px"


def _counted(count: int, words: str) -> str:
    return f"{count} {words.removesuffix('s') if count == 1 else words}"


def weights_of(results: Results) -> Iterator[str]:
    """Which weights the contestants have."""
    for standing in results.standings:
        settings = standing.settings
        if "sha256" in settings:
            told = [settings["ckpt"], f"sha256 {settings['sha256'][:DIGITS]}", settings.get("precision")]
            told += [f"{key} {settings[key]:g}" for key in THRESHOLDS if settings.get(key) is not None]
            yield f"{standing.name}: {', '.join(part for part in told if part)}"


def _undefined(results: Results) -> Iterator[str]:
    """One note for all metrics and contestants that lack the same items."""
    headings = {column.metric: column.heading for column in results.benchmark.columns}
    lacking: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for standing in results.standings:
        for metric, items in standing.summaries[ALL].undefined.items():
            metrics = lacking.setdefault(tuple(items), {}).setdefault(standing.name, [])
            metrics += [headings[metric]] if metric in headings else []
    for items, by_contestant in lacking.items():
        named = set(sum(by_contestant.values(), []))
        metrics = [heading for heading in headings.values() if heading in named]
        everyone = len(by_contestant) == len(results.standings)
        of = "" if everyone else f" of {', '.join(by_contestant)}"
        names = ", ".join(items[:SHOWN_NAMES]) + (", ..." if len(items) > SHOWN_NAMES else "")
        if metrics:
            yield (
                f"{', '.join(metrics)}{of}: undefined on {len(items)} of {len(results.groups)} "
                f"{WORDS[results.benchmark.kind]}, which are left out of the mean ({names})"
            )


def _not_shown(benchmark: Benchmark, listing: Listing | None, shown: int) -> Iterator[str]:
    if listing is None:
        yield "published numbers: none are listed for this benchmark"
    elif listing.none:
        yield f"published numbers: {listing.none}"
    else:
        missing = sum(_fits(row, benchmark) for row in listing.rows) - shown
        if missing:
            yield f"{missing} more published rows are in table.md"
