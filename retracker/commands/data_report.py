"""What a check of a data set found, as numbers for json and as a page of text."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from torch.utils.data import Dataset

from retracker.commands.shell import say
from retracker.data.inspection import Census, Fault, Findings, kind_of
from retracker.data.label_statistics import summary_of

WIDTH = 100  # columns, and as many more as it takes not to break a path in two
GAP = 2  # columns between those of a table
MOST_FAULTS = 12  # listed; the others are counted
MOST_SIZES = 3
SUSPECT = 0.6  # of the change of colour that chance would give: hardly the labels of these frames

Numbers = Mapping[str, object]


def numbers_of(name: str, root: str | None, dataset: Dataset, census: Census, findings: Findings) -> dict:
    """All that was found; shares lie in 0..1."""
    seconds = max(findings.seconds, 1e-9)
    return {
        "dataset": name,
        "root": root,
        "kind": kind_of(dataset),
        "items": census.items,
        "scenes": census.scenes,
        "frames": census.frames,
        "items_read": len({part.index for part in findings.sound}),
        "unusable": [_fault_numbers(fault) for fault in findings.unusable],
        "faults": [_fault_numbers(fault) for fault in (*census.faults, *findings.faults)],
        "labels": summary_of(findings.clips) if findings.clips else None,
        "clips_per_second": len(findings.clips) / seconds,
        "frames_per_second": sum(clip.num_frames for clip in findings.clips) / seconds,
    }


def print_report(numbers: Numbers, sheet: Path | None) -> None:
    """The numbers on the terminal."""
    rows = [*_rows(numbers), *([] if sheet is None else [("sheet", str(sheet))])]
    _print_columns(rows)


def print_list(known: Mapping[str, str]) -> None:
    """One line per data set."""
    _print_columns(list(known.items()))


def _print_columns(rows: Sequence[tuple[str, str]]) -> None:
    longest = max(len(word) for _, text in rows for word in text.split())
    width = max(WIDTH, max(len(name) for name, _ in rows) + GAP + longest + GAP)
    table = Table(box=None, show_header=False, padding=(0, GAP, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for cells in rows:
        table.add_row(*cells)
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as page:
        console.print(table)
    say("\n".join(line.rstrip() for line in page.get().splitlines()))


def _rows(numbers: Numbers) -> Iterator[tuple[str, str]]:
    yield numbers["dataset"], _verdict(numbers)
    yield "there", _there(numbers)
    for kind in ("missing", "broken"):
        faults = [fault for fault in numbers["faults"] if fault["missing"] == (kind == "missing")]
        yield kind, "\n".join(_listed(faults)) or "nothing"
    if numbers["unusable"]:
        yield "unusable", f"{len(numbers['unusable'])}: {_told(numbers['unusable'][0])}"
    if numbers["labels"] is not None:
        yield from _clip_rows(numbers, numbers["labels"])
        yield from _label_rows(numbers["labels"])
        clips, frames = numbers["clips_per_second"], numbers["frames_per_second"]
        yield "speed", f"{clips:.1f} clips/s, {frames:.0f} frames/s in one process"


def _verdict(numbers: Numbers) -> str:
    where = f" in {numbers['root']}" if numbers["root"] else ""
    bad = {fault["index"] for fault in numbers["faults"]}
    if bad:
        return f"{_count(len(bad), numbers['kind'])} of those looked at cannot be read{where}"
    return f"nothing wrong was found{where}"


def _there(numbers: Numbers) -> str:
    scenes = "" if numbers["scenes"] is None else f" in {_count(numbers['scenes'], 'scene')}"
    frames = "" if numbers["frames"] is None else f", {_count(numbers['frames'], 'frame')}"
    return f"{_count(numbers['items'], numbers['kind'])}{scenes}{frames}"


def _listed(faults: Sequence[Numbers]) -> Iterator[str]:
    yield from (_told(fault) for fault in faults[:MOST_FAULTS])
    if len(faults) > MOST_FAULTS:
        yield f"... and {len(faults) - MOST_FAULTS} more"


def _told(fault: Numbers) -> str:
    return f"[{fault['index']}] {fault['reason']}"


def _clip_rows(numbers: Numbers, labels: Numbers) -> Iterator[tuple[str, str]]:
    sizes = [f"{width} x {height}" for height, width in labels["frame_sizes"]]
    others = f" and {len(sizes) - MOST_SIZES} other sizes" if len(sizes) > MOST_SIZES else ""
    read = f"{_count(numbers['items_read'], numbers['kind'])}, {_count(labels['frames'], 'frame')}"
    yield "read", f"{read} of {', '.join(sizes[:MOST_SIZES])}{others}"
    points, clip = labels["points_per_clip"], "pair" if labels["frames"] == 2 * labels["clips"] else "clip"
    yield "points", f"{_count(labels['points'], 'track')}; {_spread(points, '.0f')} a {clip}"


def _label_rows(labels: Numbers) -> Iterator[tuple[str, str]]:
    pairs = labels["frames"] == 2 * labels["clips"]
    shares = (f"{name} {100 * labels[f'{name}_share']:.1f} %" for name in ("visible", "labelled", "located"))
    yield "labels", ", ".join(shares)
    if pairs:
        overlap = {key: 100 * share for key, share in labels["last_visible_share"].items()}
        yield "overlap", f"{_spread(overlap, '.0f')} %"
    moved, relative = labels["motion_px"], labels["motion_per_width"]
    if moved["median"] is not None:
        pace = "" if pairs else " a frame"
        yield (
            "motion",
            f"median {moved['median']:.1f} px{pace} ({100 * relative['median']:.1f} % of the width), "
            f"95 % below {moved['p95']:.1f} px ({100 * relative['p95']:.1f} %)",
        )
    if not pairs:
        yield "seen in", f"{_distribution(labels['seen_frames'])} frames of a clip"
        runs = labels["hidden_frames"]
        length = "" if runs["median"] is None else f", {_distribution(runs)} frames long"
        yield "occlusions", f"{labels['hidden_runs_per_point']:.2f} a track{length}"
    along, chance = labels["colour_change"], labels["chance_colour_change"]["median"]
    if chance is not None:
        found = f"median {along['median']:.0f}, 95 % below {along['p95']:.0f} of 255"
        yield "colour", f"changes along a track: {found}; between points: {chance:.0f}"
        if along["median"] > SUSPECT * chance:
            yield "", "Do these labels belong to these frames? Look at the sheet."


def _spread(values: Numbers, form: str) -> str:
    least, median, most = (f"{values[key]:{form}}" for key in ("least", "median", "most"))
    return least if least == most else f"median {median} ({least} to {most})"


def _distribution(values: Numbers) -> str:
    return f"median {values['median']:.0f}, 95 % below {values['p95']:.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")


def _fault_numbers(fault: Fault) -> dict:
    return {"index": fault.index, "reason": fault.reason, "missing": fault.missing}
