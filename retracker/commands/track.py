"""``retracker track``: follow points through videos."""

import argparse
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from retracker.commands.shell import (
    INTERRUPTED,
    OneLineParser,
    add_common_arguments,
    check_folder,
    check_image_size,
    check_positive,
    compile_model,
    complain,
    exit_code,
    interruptible,
    load_model,
    memory_told,
    parse_formats,
    progress_bar,
    say,
)
from retracker.commands.track_live import LiveSource, is_live, live_name, live_source
from retracker.commands.track_queries import add_query_arguments, chosen_queries
from retracker.commands.track_save import FORMATS, Tracked, check_formats, save
from retracker.configuration import RunFailed
from retracker.host import MISTAKE
from retracker.inference.checks import check_probability
from retracker.inference.clip import track
from retracker.media.camera import shown
from retracker.media.sources import FrameSource, Window, as_source, pictures_in, videos_in
from retracker.types import TrackResult

PROGRAM = "retracker track"
PRECISIONS = ("fp32", "bf16")


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and track; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Track as the arguments say and write what they ask for; returns the exit code.

    Of several videos those that fail are named, and the others done. Raises ValueError for a user's mistake.
    """
    formats = parse_formats(arguments.save, tuple(FORMATS))
    check_formats(formats)
    check_folder("--out", arguments.out)
    for name in ("max_frames", "max_size", "points_per_chunk", "stride"):
        check_positive(f"--{name.replace('_', '-')}", getattr(arguments, name))
    check_image_size(arguments.image_size)
    check_probability("--visible-threshold", arguments.visible_threshold)
    videos = _named([video for given in arguments.video for video in _videos_of(given)])
    model = load_model(arguments.ckpt, arguments.device)
    if arguments.compile:
        compile_model(model)
    failed = 0
    with interruptible() as stop:
        for video, name in videos:
            try:
                with memory_told(f"{shown(video)}: "):
                    _track_one(arguments, formats, model, (video, name), stop)
            except (ValueError, OSError, RunFailed) as error:
                if len(videos) == 1:
                    raise
                complain(PROGRAM, error)
                failed += 1
            if stop():
                return INTERRUPTED
    return MISTAKE if failed else 0


def _parser() -> OneLineParser:
    parser = OneLineParser(prog=PROGRAM, description="Follow points through videos.")
    parser.add_argument(
        "video", nargs="+", help="a video, a folder of its frames or of videos, a camera's number, or a URL"
    )
    add_query_arguments(parser)
    parser.add_argument("--backward", action="store_true", help="also follow points back from their query")
    parser.add_argument("--start", type=int, default=0, help="the first frame (default: 0)")
    parser.add_argument("--end", type=int, help="the frame before which to stop")
    parser.add_argument("--stride", type=int, default=1, help="take every so manyth frame")
    parser.add_argument("--max-frames", type=int, help="stop after this many frames")
    parser.add_argument(
        "--max-size", type=int, metavar="N", help="refine at, and draw, frames whose sides are at most N px"
    )
    parser.add_argument(
        "--points-per-chunk", type=int, metavar="N", help="follow more points one chunk after the other"
    )
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp32", help="what the network computes in"
    )
    parser.add_argument(
        "--no-subpixel", action="store_true", help="leave positions as the net says: quicker, less precise"
    )
    parser.add_argument(
        "--visible-threshold",
        type=float,
        metavar="P",
        help="how probable a point has to be to be called visible, in [0, 1] (default: the model's)",
    )
    parser.add_argument(
        "--compile", action="store_true", help="quicker, after some minutes in which nothing moves"
    )
    add_common_arguments(parser, tuple(FORMATS), default="npz,mp4")
    return parser


def _videos_of(given: str) -> list[str]:
    """A file, a folder of frames, a camera, or each video of a folder of videos."""
    films = videos_in(given) if Path(given).is_dir() else []
    if films and pictures_in(given):
        raise ValueError(f"{given}: holds films and pictures; name the films, or a folder of frames alone")
    return [str(path) for path in films] or [given]


def _named(videos: list[str]) -> list[tuple[str, str]]:
    """Each video and the name that its files get; of those that share one, with its ending or its number."""
    paths = [Path(live_name(video)) if is_live(video) else Path(video).resolve() for video in videos]
    stems = [path.stem for path in paths]
    full = [path.name.replace(".", "_") for path in paths]
    names = [name if Counter(stems)[stem] > 1 else stem for stem, name in zip(stems, full, strict=True)]
    numbered = [f"{name}_{k}" if Counter(names)[name] > 1 else name for k, name in enumerate(names)]
    return list(zip(videos, numbered, strict=True))


def _track_one(
    arguments: argparse.Namespace,
    formats: tuple[str, ...],
    model: nn.Module,
    clip: tuple[str, str],  # the video, and the name of its files
    stop: Callable[[], bool],
) -> None:
    video, name = clip
    stem = arguments.out / f"{name}_tracks"
    with ExitStack() as opened:
        if is_live(video):
            video = shown(video)
            source = opened.enter_context(live_source(clip[0], _window(arguments)))
        else:
            source = as_source(video, _window(arguments))
        found = _tracked(arguments, model, source, name, stop)
        if stop():
            say(f"interrupted after {len(found.tracks)} frames of {video}; what was done is kept")
        if not len(found.tracks):
            return
        share, num_points = found.visible.float().mean().item(), found.tracks.shape[1]
        say(f"{num_points} points in {len(found.tracks)} frames of {video}, visible in {share:.0%}")
        if isinstance(source, LiveSource):
            say(source.report())
            source = source.recorded()
        tracked = Tracked(result=found, video=video, source=source, stem=stem, max_size=arguments.max_size)
        for form in formats:
            say(f"wrote {save(tracked, form)}")


def _tracked(
    arguments: argparse.Namespace,
    model: nn.Module,
    source: FrameSource,
    name: str,
    stop: Callable[[], bool],
) -> TrackResult:
    queries = chosen_queries(arguments, source)
    total = _steps(arguments, source, queries[:, 0])
    place = next(model.parameters()).device.type
    half = torch.autocast(place, dtype=torch.bfloat16) if arguments.precision == "bf16" else nullcontext()
    with progress_bar(f"tracking {name}", total, "frames") as progress, half:
        found = track(
            model,
            source,
            queries,
            backward=arguments.backward,
            image_size=arguments.image_size,
            subpixel=not arguments.no_subpixel,
            points_per_chunk=arguments.points_per_chunk,
            max_size=arguments.max_size,
            progress=progress,
            stop=stop,
            visible_threshold=arguments.visible_threshold,
        )
    return _numbered(found, source.window)


def _window(arguments: argparse.Namespace) -> Window:
    if arguments.max_frames is None:
        return Window(start=arguments.start, end=arguments.end, stride=arguments.stride)
    last = arguments.start + arguments.max_frames * arguments.stride
    end = last if arguments.end is None else min(last, arguments.end)
    return Window(start=arguments.start, end=end, stride=arguments.stride)


def _steps(arguments: argparse.Namespace, source: FrameSource, births: torch.Tensor) -> int | None:
    """How many frames will be looked at, if that is known."""
    frames = source.declared()
    if frames is None:
        return None
    chunks = births.split(arguments.points_per_chunk or len(births))
    back = sum(int(some.max()) + 1 for some in chunks if some.max() > 0) if arguments.backward else 0
    return len(chunks) * frames + back


def _numbered(found: TrackResult, window: Window) -> TrackResult:
    """The result with frames and queries numbered as in the video, of which only some frames were tracked."""
    if window.start == 0 and window.stride == 1:
        return found
    queries = found.queries.clone()
    queries[:, 0] = window.start + queries[:, 0] * window.stride
    frames = window.start + torch.arange(len(found.tracks)) * window.stride
    fps = None if found.fps is None else found.fps / window.stride
    return replace(found, frames=frames, queries=queries, fps=fps)
