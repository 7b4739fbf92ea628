"""``retracker visualize``: draw tracks onto their video, one or several beside each other."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.commands.block import check_block, write_block
from retracker.commands.shell import OneLineParser, exit_code, progress_bar, say
from retracker.commands.track_pictures import Overlay, check_belongs, overlay, read_sets
from retracker.commands.track_save import is_even
from retracker.media.image import check_image_name, write_image
from retracker.media.sources import FrameSource, Window, as_source
from retracker.media.video import UNKNOWN_FPS, VideoWriter
from retracker.types import TrackResult
from retracker.visualize.animation import write_animation
from retracker.visualize.colouring import SHADES
from retracker.visualize.side_by_side import contact_sheet
from retracker.visualize.style import HIDDEN, TrackStyle, readable_zoom
from retracker.visualize.track_lines import MatchLines

PROGRAM = "retracker visualize"
SHEET_FRAMES = 6
TRAIL = "12"
MOST_GIF_FRAMES = 300  # larger ones no page likes to show, and all of them lie in memory


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and draw; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    """Draw as the arguments say. Raises ValueError for a user's mistake."""
    titles = _titles(arguments)
    name = "visualized.mp4" if arguments.spacetime is None else "spacetime.png"
    out = arguments.out or Path(f"{arguments.video.stem}_{name}")
    _check_out(out, arguments)
    check_block(out, arguments)
    sets = read_sets(arguments.tracks, arguments.truth)
    source = as_source(arguments.video, sets.window)
    check_belongs(sets, [*arguments.tracks, *filter(None, [arguments.truth])], source)
    span = _span(arguments, sets.window, sets.num_frames)
    style = _style(arguments, readable_zoom(source.size()[0]))
    if arguments.spacetime is not None:
        write_block(out, sets, style, source, span, sheets=arguments.spacetime, turn=arguments.turn)
        return say(f"wrote {out}")
    picture = overlay(sets, style, titles, source, lines=arguments.lines)
    fps = _rate(sets.results[0], source)
    if out.suffix.lower() == ".mp4":
        result = replace(sets.results[0], fps=fps)
        times = None if is_even(result) else result.times[slice(*span)].tolist()
        _write_film(out, _drawn(picture, source, span), fps, times)
    elif out.suffix.lower() == ".gif" and arguments.frame is None:
        _write_gif(out, _drawn(picture, source, span), span[1] - span[0], fps)
    else:
        times = _shown(span, arguments.sheet or SHEET_FRAMES, picture)
        _write_picture(out, picture, source, times)
    say(f"wrote {out}")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=PROGRAM, description="Draw tracks onto their video, one or several beside each other."
    )
    parser.add_argument("video", type=Path, help="the video, or folder of its frames, that was tracked")
    parser.add_argument("tracks", type=Path, nargs="+", help=".npz or .csv files of retracker track")
    parser.add_argument("--truth", type=Path, metavar="TRACKS", help="true tracks of the same points")
    parser.add_argument("--trail", help=f"frames that a trail reaches back, or all (default: {TRAIL})")
    parser.add_argument("--hidden", choices=HIDDEN, default="ring", help="what a hidden point gets")
    parser.add_argument(
        "--colour",
        "--color",
        choices=tuple(SHADES),
        default="point",
        help="what colours mean; motion: from a frame to the next, travel: since birth, as optical flow",
    )
    parser.add_argument(
        "--compensate", action="store_true", help="trails show what moves otherwise than the camera"
    )
    parser.add_argument(
        "--lines", action="store_true", help="lines from the frame of birth to each other one"
    )
    parser.add_argument(
        "--spacetime",
        type=int,
        metavar="K",
        help="K frames as sheets behind one another, and the whole paths between them",
    )
    parser.add_argument(
        "--turn",
        metavar="A[,B]",
        help="degrees from which --spacetime is seen; a film swings between two (default: 40; film: 15,65)",
    )
    parser.add_argument("--dim", "--dimming", type=float, default=0.25, help="fade the video, 0..1")
    parser.add_argument("--zoom", type=int, help="a whole factor (default: enough to see small films)")
    parser.add_argument("--size", type=float, default=1.0, help="of marks and trails, as a factor")
    parser.add_argument("--no-legend", action="store_true", help="do not say what colours mean")
    parser.add_argument("--titles", metavar="A,B", help="of the panels (default: names of the files)")
    parser.add_argument("--start", type=int, help="the first frame that is drawn")
    parser.add_argument("--end", type=int, help="the frame before which to stop")
    parser.add_argument("--frame", type=int, help="the frame that a picture shows")
    parser.add_argument("--sheet", type=int, help=f"or how many it shows (default: {SHEET_FRAMES})")
    parser.add_argument(
        "--out",
        type=Path,
        help=".mp4, .gif, or one picture (default: VIDEO_visualized.mp4 or VIDEO_spacetime.png)",
    )
    return parser


def _style(arguments: argparse.Namespace, zoom: int) -> TrackStyle:
    trail = TRAIL if arguments.trail is None else arguments.trail
    if trail != "all" and not trail.isdecimal():
        raise ValueError(f"--trail: expected a number of frames or all, got {trail!r}")
    try:
        return TrackStyle(
            trail=None if trail == "all" else int(trail),
            dimming=arguments.dim,
            zoom=zoom if arguments.zoom is None else arguments.zoom,
            size=arguments.size,
            hidden=arguments.hidden,
            colour=arguments.colour,
            compensate=arguments.compensate,
            legend=not arguments.no_legend,
        )
    except ValueError as error:
        raise ValueError(f"--{error}") from error


def _titles(arguments: argparse.Namespace) -> list[str] | None:
    """One for each file of tracks; None where the picture needs none."""
    if arguments.lines and (len(arguments.tracks) > 1 or arguments.truth is not None):
        raise ValueError("--lines: expected one file of tracks and no --truth")
    if arguments.titles is not None:
        titles = [title.strip() for title in arguments.titles.split(",")]
        if len(titles) != len(arguments.tracks):
            raise ValueError(f"--titles: expected {len(arguments.tracks)}, got {len(titles)}")
        if len(set(titles)) < len(titles):
            raise ValueError(f"--titles: expected different ones, got {arguments.titles!r}")
        return titles
    if len(arguments.tracks) == 1:
        return None if arguments.truth is None else ["tracks"]
    stems = [path.stem for path in arguments.tracks]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in arguments.tracks]


def _check_out(out: Path, arguments: argparse.Namespace) -> None:
    film = out.suffix.lower() in (".mp4", ".gif")
    read = [arguments.video, *arguments.tracks, *filter(None, [arguments.truth])]
    if out.resolve() in [path.resolve() for path in read]:
        raise ValueError(f"--out: {out} is read, and would be overwritten")
    if not film:
        check_image_name(out)
    if arguments.frame is not None and arguments.sheet is not None:
        raise ValueError("--sheet: expected no --frame beside it")
    for option in ("frame", "sheet"):
        if film and getattr(arguments, option) is not None:
            raise ValueError(f"--{option}: expected --out with the name of a picture such as .png, got {out}")
    if arguments.sheet is not None and arguments.sheet < 1:
        raise ValueError(f"--sheet: expected a positive number, got {arguments.sheet}")


def _span(arguments: argparse.Namespace, window: Window, num_frames: int) -> tuple[int, int]:
    """The frames to be drawn, from and up to before which, counted in the window."""
    last = window.number(num_frames - 1)
    if arguments.frame is not None:
        index, rest = divmod(arguments.frame - window.start, window.stride)
        if rest or not 0 <= index < num_frames:
            which = f"{num_frames} frames with tracks, every {window.stride} from {window.start} to {last}"
            raise ValueError(f"--frame: expected one of the {which}, got {arguments.frame}")
        return index, index + 1
    start = window.start if arguments.start is None else arguments.start
    end = last + 1 if arguments.end is None else arguments.end
    if not window.start <= start < end <= last + 1:
        raise ValueError(
            f"--start, --end: expected {window.start} <= start < end <= {last + 1}, got {start} and {end}"
        )
    return tuple(-(-(edge - window.start) // window.stride) for edge in (start, end))


def _rate(result: TrackResult, source: FrameSource) -> float:
    """Frames per second of those that were tracked: a .csv tells by its times."""
    if result.fps is not None:
        return result.fps
    step = 0.0 if result.times is None or len(result.times) < 2 else result.times.diff().median().item()
    if step > 0:
        return 1 / step
    return (source.fps or float(UNKNOWN_FPS)) / source.window.stride


def _drawn(
    picture: Overlay, source: FrameSource, span: tuple[int, int]
) -> Iterator[UInt8[Tensor, "3 high wide"]]:
    """One frame after the other, none of them kept."""
    with progress_bar("drawing", span[1] - span[0], "frames") as progress:
        count = 0
        for count, frame in enumerate(islice(source, *span), 1):
            yield picture.draw(frame, span[0] + count - 1)
            progress()
    if count < span[1] - span[0]:
        raise ValueError(f"{source.where}: ends before frame {source.window.number(span[1] - 1)}")


def _write_film(
    out: Path, frames: Iterator[UInt8[Tensor, "3 high wide"]], fps: float, times: list[float] | None
) -> None:
    with VideoWriter(out, fps) as writer:
        for index, frame in enumerate(frames):
            writer.write(frame, None if times is None else times[index])


def _write_gif(out: Path, frames: Iterator[UInt8[Tensor, "3 high wide"]], count: int, fps: float) -> None:
    if count > MOST_GIF_FRAMES:
        raise ValueError(f"{out}: expected at most {MOST_GIF_FRAMES} frames in a GIF (see --start and --end)")
    write_animation(out, frames, fps)


def _shown(span: tuple[int, int], most: int, picture: Overlay) -> list[int]:
    """Frames spread evenly over the span, but none with lines from it to itself, which say nothing."""
    times = list(range(*span))
    if isinstance(picture, MatchLines) and len(times) > 1:
        times = [t for t in times if t != picture.reference_t]
    chosen = torch.linspace(0, len(times) - 1, min(most, len(times))).round().long().tolist()
    return [times[index] for index in chosen]


def _write_picture(out: Path, picture: Overlay, source: FrameSource, times: list[int]) -> None:
    """One frame, or some on a contact sheet."""
    tiles = [picture.draw(frame, t) for frame, t in zip(source.read(times), times, strict=True)]
    titles = [f"frame {source.window.number(t)}" for t in times]
    write_image(out, tiles[0] if len(tiles) == 1 else contact_sheet(tiles, titles))
