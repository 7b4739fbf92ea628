"""``retracker visualize --spacetime``: the film as a block that is looked at from the side."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from math import cos, isfinite, pi
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.commands.shell import progress_bar
from retracker.commands.track_pictures import TrackSets, overlay
from retracker.media.image import write_image
from retracker.media.sources import FrameSource
from retracker.media.video import VideoWriter
from retracker.visualize.animation import write_animation
from retracker.visualize.spacetime import TURNS, SpaceTime
from retracker.visualize.style import TrackStyle

TURN, SWING = (40.0, 40.0), (15.0, 65.0)  # degrees, of a picture and of a film
FPS, FILM_FRAMES = 20.0, 80  # of a film: there and back
PICTURE_PX, FILM_PX = 1600, 960  # longer side
MOST_SHEETS = 40  # all lie in memory


def is_film(out: Path) -> bool:
    """Whether what is written moves."""
    return out.suffix.lower() in (".mp4", ".gif")


def check_block(out: Path, arguments: argparse.Namespace) -> None:
    """Raise ValueError for options of ``visualize`` that do not go together, or make no sense."""
    if arguments.spacetime is None:
        if arguments.turn is not None:
            raise ValueError("--turn: expected --spacetime beside it")
        return
    if not 2 <= arguments.spacetime <= MOST_SHEETS:
        raise ValueError(f"--spacetime: expected 2 to {MOST_SHEETS} frames, got {arguments.spacetime}")
    given = {
        "--frame": arguments.frame is not None,
        "--sheet": arguments.sheet is not None,
        "--lines": arguments.lines,
        "--truth": arguments.truth is not None,
        "--compensate": arguments.compensate,
        "--titles": arguments.titles is not None,
        "--trail": arguments.trail is not None,
        "--zoom": arguments.zoom is not None,
    }
    for option in [option for option, there in given.items() if there]:
        raise ValueError(f"--spacetime: expected no {option} beside it")
    if len(arguments.tracks) > 1:
        raise ValueError(f"--spacetime: expected one file of tracks, got {len(arguments.tracks)}")
    _turns(arguments.turn, film=is_film(out))


def write_block(
    out: Path,
    sets: TrackSets,
    style: TrackStyle,
    source: FrameSource,
    span: tuple[int, int],
    *,
    sheets: int,
    turn: str | None,
) -> None:
    """A picture of the block, or a film in which it swings. Raises ValueError for less than two frames."""
    first, end = span
    if end - first < 2:
        raise ValueError(f"--spacetime: expected two frames or more of the film, got {end - first}")
    times = torch.linspace(first, end - 1, min(sheets, end - first)).round().long().tolist()
    painter = overlay(sets, replace(style, trail=end - 1 - first, zoom=1), None, source, lines=False)
    film = is_film(out)
    turns = _turns(turn, film=film)
    block = SpaceTime(painter, source.read(times), times, turns, FILM_PX if film else PICTURE_PX)
    if not film:
        write_image(out, block.draw(turns[0]))
    elif out.suffix.lower() == ".gif":
        write_animation(out, _swinging(block, turns), FPS)
    else:
        with VideoWriter(out, FPS) as writer:
            for frame in _swinging(block, turns):
                writer.write(frame)


def _turns(words: str | None, *, film: bool) -> tuple[float, float]:
    """From where one looks, and where a film turns round."""
    if words is None:
        return SWING if film else TURN
    try:
        turns = [float(word) for word in words.split(",")]
    except ValueError:
        turns = []
    low, high = TURNS
    wanted = f"two angles, A < B, from {low:g} to {high:g}" if film else f"an angle from {low:g} to {high:g}"
    many = len(turns) == (2 if film else 1)
    if not many or not all(isfinite(turn) and low <= turn <= high for turn in turns):
        raise ValueError(f"--turn: expected {wanted}, got {words!r}")
    if film and turns[0] >= turns[1]:
        raise ValueError(f"--turn: expected {wanted}, got {words!r}")
    return turns[0], turns[-1]


def _swinging(block: SpaceTime, turns: tuple[float, float]) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """There and back, slowly at the ends."""
    with progress_bar("drawing", FILM_FRAMES, "frames") as progress:
        for index in range(FILM_FRAMES):
            share = (1 - cos(2 * pi * index / FILM_FRAMES)) / 2
            yield block.draw(min(turns[0] + share * (turns[1] - turns[0]), turns[1]))
            progress()
