"""Which points ``retracker track`` follows, as its arguments say."""

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.commands.shell import OneLineParser
from retracker.commands.tables import parse_points, read_film_size, read_queries
from retracker.inference.frames import shown
from retracker.inference.queries import Dense, Grid, Layout, Mask
from retracker.media.image import read_image
from retracker.media.sources import FrameSource, Window

DEFAULT_GRID = 20  # points a side
DEFAULT_SPACING = 8  # px


def add_query_arguments(parser: OneLineParser) -> None:
    """The options that choose points."""
    points = parser.add_mutually_exclusive_group()
    points.add_argument(
        "--queries", type=Path, metavar="FILE", help="a .csv of lines t,x,y (frame, px), or a .npz of tracks"
    )
    points.add_argument("--points", metavar="'T,X,Y;...'", help="the queries themselves")
    points.add_argument("--grid", type=int, metavar="N", help=f"N x N points (default: {DEFAULT_GRID})")
    points.add_argument("--dense", type=int, metavar="PX", help="points PX px apart; 1: every pixel")
    points.add_argument(
        "--mask", type=Path, metavar="IMAGE", help="points where a picture of the frame's size is not black"
    )
    parser.add_argument(
        "--spacing", type=int, metavar="PX", help=f"between points in a mask (default: {DEFAULT_SPACING})"
    )
    parser.add_argument(
        "--grid-frame", type=int, metavar="T", help="the frame of a grid or a mask (default: the first)"
    )


def chosen_queries(arguments: argparse.Namespace, source: FrameSource) -> Float[Tensor, "N 3"]:
    """The queries (t, x, y), t counted in the source's window.

    Raises ValueError if they cannot be read, or if the window leaves out a frame that is asked for.
    """
    if arguments.spacing is not None and arguments.mask is None:
        raise ValueError("--spacing: is for --mask")
    laid = arguments.queries is None and arguments.points is None
    if not laid and arguments.grid_frame is not None:
        raise ValueError("--grid-frame: is for --grid, --dense and --mask; queries name their frames")
    if laid:
        queries = _layout(arguments, source.window).queries(source.size())
    elif arguments.queries is not None:
        queries = read_queries(arguments.queries)
        _check_belongs(arguments.queries, source)
    else:
        queries = parse_points(arguments.points)
    return _in_window(queries, source.window)


def _check_belongs(path: Path, source: FrameSource) -> None:
    """Raise ValueError if queries are those of tracks through a film of another size."""
    own = read_film_size(path) if path.suffix.lower() == ".npz" else None
    if own not in (None, source.size()):
        raise ValueError(
            f"{path}: belongs to a video of {shown(own)}, but {source.where} has {shown(source.size())}"
        )


def _layout(arguments: argparse.Namespace, window: Window) -> Layout:
    frame = window.start if arguments.grid_frame is None else arguments.grid_frame
    if arguments.mask is not None:
        mask = read_image(arguments.mask).amax(0) > 0
        return Mask(mask, DEFAULT_SPACING if arguments.spacing is None else arguments.spacing, frame)
    if arguments.dense is not None:
        return Dense(arguments.dense, frame)
    return Grid(DEFAULT_GRID if arguments.grid is None else arguments.grid, frame)


def _in_window(queries: Float[Tensor, "N 3"], window: Window) -> Float[Tensor, "N 3"]:
    """With frames counted in the window."""
    if window.start == 0 and window.stride == 1:  # the tracker says what is wrong
        return queries
    index = (queries[:, 0] - window.start) / window.stride
    end = torch.inf if window.end is None else window.end
    left_out = (index < 0) | (index % 1 != 0) | (queries[:, 0] >= end)
    if left_out.any():
        which = int(left_out.int().argmax())
        raise ValueError(
            f"query {which} is in frame {queries[which, 0].item():g}, which is not tracked: "
            f"every {window.stride} from {window.start} on{'' if window.end is None else f' before {end}'}"
        )
    return torch.cat([index[:, None], queries[:, 1:]], dim=-1)
