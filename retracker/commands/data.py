"""``retracker data``: which data sets are known, whether one is whole, and what its labels look like."""

import argparse
import json
import re
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import MappingProxyType

import numpy as np
from torch.utils.data import Dataset

from retracker.commands.data_report import numbers_of, print_list, print_report
from retracker.commands.data_sets import known_data_sets, open_data_set
from retracker.commands.shell import OneLineParser, check_folder, check_positive, exit_code, progress_bar, say
from retracker.data.inspection import (
    Census,
    Extent,
    Findings,
    Part,
    census_of,
    excerpt,
    has_names,
    inspect,
    spread,
)
from retracker.data.recordings import Recordings
from retracker.media.files import replacing
from retracker.media.image import check_image_name, write_image
from retracker.media.video import write_video
from retracker.types import VideoSample
from retracker.visualize.sheet import contact_sheet, draw_clip, is_pair

PROGRAM = "retracker data"
ACTIONS = MappingProxyType(
    {
        "list": "show the known data sets",
        "check": "say what is there, missing or broken and what its labels are like; draw a contact sheet",
        "sample": "write one clip with its labels drawn",
    }
)
BROKEN = 1  # exit code of a data set with files that are missing or broken
MOST = 50  # recordings read by a check
NUM_FRAMES = 24  # read of each, as many as a training clip
ROWS = 6  # clips on the contact sheet
FPS = 10  # of the written clip
PAIR_FPS = 1
MOST_POINTS = 256  # drawn on it
READABLE_PX = 480  # a small clip is enlarged until it is about this high
OVERRIDE = re.compile(r"[a-z_][\w.]*=")


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and do what they ask for; returns the exit code."""
    arguments = _parse(argv)
    action = {"list": _list, "check": _check, "sample": _sample}[arguments.action]
    return exit_code(f"{PROGRAM} {arguments.action}", lambda: action(arguments))


def _list(_: argparse.Namespace) -> None:
    print_list(known_data_sets())


def _check(arguments: argparse.Namespace) -> int:
    """Look through a data set; returns 1 if anything of it is missing or broken."""
    for option in ("max", "frames"):
        check_positive(f"--{option}", getattr(arguments, option))
    out = arguments.out or Path(f"check_{arguments.dataset}.png")
    check_folder("--out", out.parent)
    check_image_name(out)
    if arguments.json is not None:
        check_folder("--json", arguments.json.parent)
    dataset = open_data_set(arguments.dataset, arguments.root, arguments.overrides)
    census, findings = _looked_through(dataset, arguments)
    numbers = numbers_of(arguments.dataset, arguments.root, dataset, census, findings)
    sheet = _write_sheet(out, arguments, dataset, findings)
    print_report(numbers, sheet)
    if arguments.json is not None:
        with replacing(arguments.json) as partial:
            partial.write_text(json.dumps(numbers, indent=2) + "\n")
    return BROKEN if numbers["faults"] else 0


def _looked_through(dataset: Dataset, arguments: argparse.Namespace) -> tuple[Census, Findings]:
    rng = np.random.default_rng(arguments.seed)
    with progress_bar("names", len(dataset) if has_names(dataset) else 0) as progress:
        census = census_of(dataset, progress)
    broken = {fault.index for fault in census.faults}
    most = len(dataset) if arguments.all and has_names(dataset) else arguments.max
    indices = [index for index in spread(len(dataset), most, rng) if index not in broken]
    with progress_bar("reading", len(indices)) as progress:
        extent = Extent(num_frames=arguments.frames, whole=arguments.whole)
        return census, inspect(dataset, indices, extent, rng, progress)


def _write_sheet(
    out: Path, arguments: argparse.Namespace, dataset: Dataset, findings: Findings
) -> Path | None:
    """Draw some of what was read, one part per item; None if nothing could be read."""
    parts = list({part.index: part for part in reversed(findings.sound)}.values())[::-1]
    if not parts:
        return None
    shown = [parts[i] for i in spread(len(parts), ROWS, np.random.default_rng(arguments.seed))]
    clips = [_with_start(excerpt(dataset, part), part) for part in shown]
    write_image(out, contact_sheet(clips, f"{arguments.dataset}: {len(clips)} of {len(dataset)}"))
    return out


def _with_start(clip: VideoSample, part: Part) -> VideoSample:
    """The clip, its name telling which frame of the recording is its frame 0."""
    first = part.frames.start if part.frames else 0
    return replace(clip, name=f"{clip.name}, from frame {first}") if first else clip


def _sample(arguments: argparse.Namespace) -> None:
    """Write one clip with its labels drawn."""
    check_positive("--frames", arguments.frames)
    dataset = open_data_set(arguments.dataset, arguments.root, arguments.overrides)
    if not 0 <= arguments.index < len(dataset):
        raise ValueError(f"--index: expected 0 to {len(dataset) - 1}, got {arguments.index}")
    clip = excerpt(dataset, _chosen_part(dataset, arguments))
    out = arguments.out or Path(f"{arguments.dataset}_{arguments.index}{'.png' if is_pair(clip) else '.mp4'}")
    check_folder("--out", out.parent)
    if out.suffix.lower() == ".mp4":
        zoom = max(1, ceil(READABLE_PX / clip.video.shape[-2]))
        write_video(out, draw_clip(clip, MOST_POINTS, zoom), PAIR_FPS if is_pair(clip) else FPS)
    else:
        write_image(out, contact_sheet([clip], f"{arguments.dataset}: number {arguments.index}"))
    share = clip.visible.float().mean().item()
    say(f"{clip.name}: {len(clip.video)} frames, {clip.visible.shape[1]} points, {share:.0%} visible")
    say(f"wrote {out}")


def _chosen_part(dataset: Dataset, arguments: argparse.Namespace) -> Part:
    if not isinstance(dataset, Recordings):
        return Part(index=arguments.index)
    total, start = dataset.num_frames(arguments.index), arguments.start
    if not 0 <= start < total:
        raise ValueError(f"--start: recording {arguments.index} has the frames 0 to {total - 1}, got {start}")
    return Part(index=arguments.index, frames=range(start, min(start + arguments.frames, total)))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    """The arguments of one action. Options may stand anywhere; a word such as split=val is an override."""
    parser = OneLineParser(
        prog=PROGRAM, description="Look at training data.", epilog=f"{PROGRAM} check --help says more."
    )
    parser.add_argument(
        "action", choices=tuple(ACTIONS), help="; ".join(f"{a}: {t}" for a, t in ACTIONS.items())
    )
    parser.add_argument("words", nargs=argparse.REMAINDER, help="what the action takes")
    action, words = vars(parser.parse_args(argv)).values()
    chosen = OneLineParser(prog=f"{PROGRAM} {action}", description=f"{ACTIONS[action]}.".capitalize())
    if action != "list":
        _add_data_set(chosen)
        (_add_check_options if action == "check" else _add_sample_options)(chosen)
    arguments = chosen.parse_intermixed_args(words)
    arguments.action = action
    if action != "list":
        _sort_words(chosen, arguments)
    return arguments


def _add_data_set(parser: OneLineParser) -> None:
    parser.add_argument("dataset", help=f"a name that '{PROGRAM} list' shows")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="root key=value",
        help="the folder or URL it lies in (default: where a training would look), and changes of its yaml",
    )


def _add_check_options(parser: OneLineParser) -> None:
    how_many = parser.add_mutually_exclusive_group()
    how_many.add_argument("--max", type=int, default=MOST, help=f"recordings to read (default: {MOST})")
    how_many.add_argument("--all", action="store_true", help="read every recording")
    parser.add_argument(
        "--frames", type=int, default=NUM_FRAMES, help=f"read this many of each (default: {NUM_FRAMES})"
    )
    parser.add_argument("--whole", action="store_true", help="read all frames of each, so many at a time")
    parser.add_argument(
        "--out", type=Path, metavar="PNG", help="contact sheet (default: check_<dataset>.png)"
    )
    parser.add_argument("--json", type=Path, help="also write all numbers into this file")
    parser.add_argument("--seed", type=int, default=0, help="chooses what is read (default: 0)")


def _add_sample_options(parser: OneLineParser) -> None:
    parser.add_argument("--index", type=int, default=0, help="which recording, clip or pair (default: 0)")
    parser.add_argument("--start", type=int, default=0, help="first frame (default: 0)")
    parser.add_argument("--frames", type=int, default=NUM_FRAMES, help=f"how many (default: {NUM_FRAMES})")
    parser.add_argument("--out", type=Path, help="an .mp4, or a .png with some frames side by side")


def _sort_words(parser: OneLineParser, arguments: argparse.Namespace) -> None:
    """Tell the root from the overrides."""
    arguments.overrides = [word for word in arguments.words if OVERRIDE.match(word)]
    roots = [word for word in arguments.words if not OVERRIDE.match(word)]
    if len(roots) > 1:
        parser.error(f"expected one root, got {' and '.join(roots)}")
    arguments.root = roots[0] if roots else None
