"""``retracker match``: find the points of one image in another, or of many pairs that a list names."""

import argparse
import sys
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from retracker.commands.match_lists import PairLine, read_pairs, stems
from retracker.commands.match_pair import GeometryQuestion, PairTask
from retracker.commands.shell import (
    OneLineParser,
    add_common_arguments,
    check_folder,
    check_image_size,
    check_positive,
    exit_code,
    load_model,
    memory_told,
    parse_formats,
    say,
)
from retracker.commands.tables import POSITION, parse_points, read_queries
from retracker.configuration import RunFailed
from retracker.host import MISTAKE
from retracker.inference.checks import check_probability
from retracker.inference.pair import DEFAULT_GRID, PairMatcher
from retracker.inference.verification import SAMPLE_SIZE, SOLVERS, THRESHOLD_PX, check_question
from retracker.inference.warp import DEFAULT_WARP_GRID

PROGRAM = "retracker match"
FORMATS = ("npz", "png")


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and match; returns the exit code."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    missing = [name for name in ("image_a", "image_b") if getattr(arguments, name) is None]
    if missing and arguments.pairs is None:
        parser.error(f"the following arguments are required: {', '.join(missing)} (or --pairs)")
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Match as the arguments say and write what they ask for; returns the exit code.

    Raises ValueError for a user's mistake. Of a list, one broken pair is told and the others are matched.
    """
    task = _task(arguments)
    check_folder("--out", arguments.out)
    lines = None if arguments.pairs is None else read_pairs(arguments.pairs)
    model = load_model(arguments.ckpt, arguments.device)
    matcher = PairMatcher(model, arguments.image_size, match_threshold=arguments.match_threshold)
    if lines is not None:
        return _match_list(task, matcher, lines, arguments)
    paths = (arguments.image_a, arguments.image_b)
    task.run(matcher, paths, arguments.out / f"{paths[0].stem}_{paths[1].stem}")
    return 0


def _match_list(
    task: PairTask, matcher: PairMatcher, lines: list[PairLine], arguments: argparse.Namespace
) -> int:
    """Match all pairs; a broken one is told on stderr."""
    num_broken = 0
    for line, stem in zip(lines, stems(lines), strict=True):
        try:
            with memory_told():
                task.run(matcher, line.paths(), arguments.out / stem)
        except (ValueError, OSError, RunFailed) as error:
            reason = " ".join(str(error).split())
            sys.stderr.write(f"{PROGRAM}: {arguments.pairs}, line {line.number}: {reason}\n")
            num_broken += 1
    say(f"{len(lines) - num_broken} of {len(lines)} pairs matched")
    return MISTAKE if num_broken else 0


def _task(arguments: argparse.Namespace) -> PairTask:
    """What is asked of each pair. Raises ValueError for what contradicts itself or is not there."""
    for option in ("num", "grid", "corners", "warp_grid"):
        check_positive(f"--{option.replace('_', '-')}", getattr(arguments, option))
    check_image_size(arguments.image_size)
    check_probability("--match-threshold", arguments.match_threshold)
    for option in ("solver", "threshold"):
        if getattr(arguments, option) is not None and arguments.geometry is None:
            raise ValueError(f"--{option}: of --geometry, which is not given")
    if arguments.warp_grid is not None and not arguments.warp:
        raise ValueError("--warp-grid: of --warp, which is not given")
    if arguments.pairs is not None and arguments.image_a is not None:
        raise ValueError("--pairs: names the images itself, expected none beside it")
    return PairTask(
        formats=parse_formats(arguments.save, FORMATS),
        grid=arguments.grid or DEFAULT_GRID,
        corners=arguments.corners,
        points=_points(arguments),
        mutual=arguments.mutual,
        subpixel=not arguments.no_subpixel,
        num=arguments.num,
        seed=arguments.seed,
        geometry=_geometry(arguments),
        warp_grid=(arguments.warp_grid or DEFAULT_WARP_GRID) if arguments.warp else None,
    )


def _points(arguments: argparse.Namespace) -> Float[Tensor, "N 2"] | None:
    if arguments.pairs is not None and (arguments.queries is not None or arguments.points is not None):
        raise ValueError("--pairs: matches grids or corners, expected neither --points nor --queries")
    if arguments.queries is not None:
        return read_queries(arguments.queries, POSITION)
    return None if arguments.points is None else parse_points(arguments.points, POSITION)


def _geometry(arguments: argparse.Namespace) -> GeometryQuestion | None:
    cameras = tuple(
        None if text is None else _camera(option, text)
        for option, text in (("--camera-a", arguments.camera_a), ("--camera-b", arguments.camera_b))
    )
    if any(cameras) and arguments.geometry != "essential":
        raise ValueError("--camera-a and --camera-b: expected only with --geometry essential")
    if arguments.geometry is None:
        return None
    if arguments.geometry == "essential" and cameras[0] is None:
        raise ValueError("--geometry essential: expected --camera-a fx,fy,cx,cy (else ask for fundamental)")
    solver, threshold = arguments.solver or SOLVERS[0], arguments.threshold
    threshold = THRESHOLD_PX if threshold is None else threshold
    known = None if cameras[0] is None else (cameras[0], cameras[1] or cameras[0])
    check_question(arguments.geometry, solver, threshold, known)
    return GeometryQuestion(
        kind=arguments.geometry,
        solver=solver,
        threshold_px=threshold,
        cameras=None if cameras[0] is None else cameras,
    )


def _camera(option: str, text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(cell) for cell in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 4:
        raise ValueError(f"{option}: expected four numbers fx,fy,cx,cy, got {text!r}")
    return numbers


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Find the points of one image in another.")
    parser.add_argument("image_a", type=Path, nargs="?", help="the image whose points are looked for")
    parser.add_argument("image_b", type=Path, nargs="?", help="the image they are looked for in")
    parser.add_argument("--pairs", type=Path, metavar="LIST", help="a file of lines 'A B' instead")
    points = parser.add_mutually_exclusive_group()
    points.add_argument("--grid", type=int, help=f"points a side (default: {DEFAULT_GRID})")
    points.add_argument("--corners", type=int, metavar="N", help="up to N corners instead: best for a pose")
    points.add_argument("--queries", type=Path, metavar="CSV", help="a file of lines x,y (px of A)")
    points.add_argument("--points", metavar="'X,Y;...'", help="the points themselves")
    parser.add_argument(
        "--mutual", action="store_true", help="keep what leads back to its start; points of both images"
    )
    parser.add_argument(
        "--no-subpixel", action="store_true", help="leave positions as the net says: quicker, less precise"
    )
    parser.add_argument(
        "--match-threshold",
        type=float,
        metavar="P",
        help="how probable a match has to be, in [0, 1] (default: the model's)",
    )
    parser.add_argument("--num", type=int, help="of more matches, a sample: sure ones, spread over the scene")
    parser.add_argument("--seed", type=int, default=0, help="of that sample (default: 0)")
    parser.add_argument("--geometry", choices=tuple(SAMPLE_SIZE), help="what the matches are to agree on")
    parser.add_argument("--solver", choices=SOLVERS, help=f"of the geometry (default: {SOLVERS[0]})")
    parser.add_argument(
        "--threshold", type=float, metavar="PX", help=f"of the geometry's inliers (default: {THRESHOLD_PX:g})"
    )
    parser.add_argument("--camera-a", metavar="FX,FY,CX,CY", help="px; for an essential matrix")
    parser.add_argument("--camera-b", metavar="FX,FY,CX,CY", help="(default: that of A)")
    parser.add_argument("--warp", action="store_true", help="also a semi-dense warp: flow and certainty")
    parser.add_argument("--warp-grid", type=int, help=f"its tiles a side (default: {DEFAULT_WARP_GRID})")
    add_common_arguments(parser, FORMATS, default="npz,png")
    return parser
