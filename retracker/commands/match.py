"""``retracker match``: find the points of one image in another."""

import argparse
from pathlib import Path

from retracker.commands.shell import (
    OneLineParser,
    add_common_arguments,
    check_folder,
    check_positive,
    exit_code,
    load_model,
    parse_formats,
    say,
)
from retracker.commands.tables import write_matches_npz
from retracker.inference.pair import DEFAULT_GRID, match
from retracker.media.image import read_image, write_image
from retracker.visualize.matches import draw_matches

PROGRAM = "retracker match"
FORMATS = ("npz", "png")


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and match; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Match as the arguments say and write what they ask for. Raises ValueError for a user's mistake."""
    formats = parse_formats(arguments.save, FORMATS)
    check_folder("--out", arguments.out)
    check_positive("--image-size", arguments.image_size)
    paths = (arguments.image_a, arguments.image_b)
    image_a, image_b = (read_image(path) for path in paths)
    model = load_model(arguments.ckpt, arguments.device)
    found = match(model, image_a, image_b, grid=arguments.grid, image_size=arguments.image_size)
    say(f"{len(found.points_a)} of {arguments.grid**2} points found, {paths[0]} in {paths[1]}")
    for name in formats:
        path = arguments.out / f"{paths[0].stem}_{paths[1].stem}_matches.{name}"
        if name == "npz":
            write_matches_npz(path, found, (str(paths[0]), str(paths[1])))
        else:
            picture = draw_matches(image_a, image_b, found.points_a, found.points_b, found.confidence)
            write_image(path, picture)
        say(f"wrote {path}")


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Find the points of one image in another.")
    parser.add_argument("image_a", type=Path, help="the image whose points are looked for")
    parser.add_argument("image_b", type=Path, help="the image they are looked for in")
    parser.add_argument(
        "--grid", type=int, default=DEFAULT_GRID, help=f"points a side (default: {DEFAULT_GRID})"
    )
    add_common_arguments(parser, FORMATS, default="npz,png")
    return parser
