"""``retracker track``: follow points through a video file."""

import argparse
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.commands.shell import (
    OneLineParser,
    add_common_arguments,
    check_folder,
    check_positive,
    compile_model,
    exit_code,
    load_model,
    parse_formats,
    progress_bar,
    say,
)
from retracker.commands.tables import parse_points, read_queries
from retracker.inference.clip import track
from retracker.inference.pair import grid_points
from retracker.media.track_files import write_tracks_csv, write_tracks_npz
from retracker.media.video import VideoInfo, VideoWriter, iterate_video, probe
from retracker.types import TrackResult
from retracker.visualize.tracks import TrackPainter

PROGRAM = "retracker track"
FORMATS = ("npz", "csv", "mp4")
DEFAULT_GRID = 20  # points a side


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and track; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Track as the arguments say and write what they ask for. Raises ValueError for a user's mistake."""
    formats = parse_formats(arguments.save, FORMATS)
    check_folder("--out", arguments.out)
    check_positive("--max-frames", arguments.max_frames)
    check_positive("--image-size", arguments.image_size)
    info = probe(arguments.video)
    queries = _queries(arguments, info)
    model = load_model(arguments.ckpt, arguments.device)
    if arguments.compile:
        compile_model(model)
    num_frames = _fewest(info.num_frames, arguments.max_frames)
    steps = num_frames + int(queries[:, 0].max()) + 1 if num_frames and arguments.backward else num_frames
    with progress_bar("tracking", steps) as progress:
        result = track(
            model,
            arguments.video,
            queries,
            backward=arguments.backward,
            image_size=arguments.image_size,
            subpixel=not arguments.no_subpixel,
            progress=progress,
            max_frames=arguments.max_frames,
        )
    share = result.visible.float().mean().item()
    say(f"{len(queries)} points in {len(result.tracks)} frames of {arguments.video}, visible in {share:.0%}")
    _save(arguments, formats, result, queries)


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Follow points through a video.")
    parser.add_argument("video", type=Path, help="any video that FFmpeg reads")
    points = parser.add_mutually_exclusive_group()
    points.add_argument("--queries", type=Path, metavar="CSV", help="a file of lines t,x,y (frame, px)")
    points.add_argument("--points", metavar="'T,X,Y;...'", help="the queries themselves")
    points.add_argument("--grid", type=int, help=f"points a side (default: {DEFAULT_GRID})")
    parser.add_argument("--grid-frame", type=int, default=0, help="the frame a grid is born in (default: 0)")
    parser.add_argument("--backward", action="store_true", help="also follow points back from their query")
    parser.add_argument(
        "--no-subpixel", action="store_true", help="leave positions as the net says: quicker, less precise"
    )
    parser.add_argument(
        "--compile", action="store_true", help="quicker, after some minutes in which nothing moves"
    )
    parser.add_argument("--max-frames", type=int, help="stop after this many frames")
    add_common_arguments(parser, FORMATS, default="npz,mp4")
    return parser


def _queries(arguments: argparse.Namespace, info: VideoInfo) -> Float[Tensor, "N 3"]:
    if arguments.queries is not None:
        return read_queries(arguments.queries)
    if arguments.points is not None:
        return parse_points(arguments.points)
    count = DEFAULT_GRID if arguments.grid is None else arguments.grid
    xy = grid_points(info.height, info.width, count).double()
    return torch.cat([torch.full_like(xy[:, :1], arguments.grid_frame), xy], dim=-1)


def _save(
    arguments: argparse.Namespace,
    formats: tuple[str, ...],
    result: TrackResult,
    queries: Float[Tensor, "N 3"],
) -> None:
    stem = arguments.out / f"{arguments.video.stem}_tracks"
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        if name == "npz":
            write_tracks_npz(path, result, queries, str(arguments.video))
        elif name == "csv":
            write_tracks_csv(path, result)
        else:
            _write_overlay(path, arguments, result, queries)
        say(f"wrote {path}")


def _write_overlay(
    path: Path, arguments: argparse.Namespace, result: TrackResult, queries: Float[Tensor, "N 3"]
) -> None:
    """Draw the tracks onto the video, decoding it once more rather than keeping it in memory."""
    first_frame = None if arguments.backward else queries[:, 0].long()
    painter = TrackPainter(result.tracks, result.visible, first_frame)
    frames = islice(iterate_video(arguments.video), len(result.tracks))
    with VideoWriter(path, result.fps) as writer, progress_bar("drawing", len(result.tracks)) as progress:
        for t, frame in enumerate(frames):
            writer.write(painter.draw(frame, t))
            progress()


def _fewest(*counts: int | None) -> int | None:
    return min((count for count in counts if count is not None), default=None)
