"""A contact sheet: many clips at a glance, with their labels drawn."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.geometry.coords import rescale
from retracker.types import Queries, VideoSample
from retracker.visualize.canvas import mark_size, rainbow, text, to_array, to_image
from retracker.visualize.layer import Layer
from retracker.visualize.palette import Colour
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter

SHEET_PX = 1800  # width
COLUMNS = 5  # frames of a clip, or
PAIRS = 2  # pairs side by side
MOST_POINTS = 48  # drawn per clip: more hide the picture
GAP_PX = 8
TITLE_PX = 21.0  # height of the letters
PANEL = (30, 30, 34)
LEGEND = "dot: visible    ring: hidden, its place known    trail or line: visible at both ends"
LETTER = 0.52  # width of an average letter, as a share of its height
NOWHERE = -1e4  # px: off every picture, for a point whose place is not known


def contact_sheet(
    clips: Sequence[VideoSample], heading: str, most_points: int = MOST_POINTS
) -> UInt8[Tensor, "3 high wide"]:
    """Unbatched clips, each with a title: one a row, some frames from first to last with points and trails.

    A clip of two frames is a pair: its views stand side by side, lines leading from points to their matches.
    """
    rows = [_line(heading, SHEET_PX, 1.3 * TITLE_PX)]
    rows += [_titled(clip, _strip(clip, most_points), SHEET_PX) for clip in clips if not is_pair(clip)]
    width = (SHEET_PX - (PAIRS - 1) * GAP_PX) // PAIRS
    pairs = [_titled(clip, _pair(clip, most_points, width), width) for clip in clips if is_pair(clip)]
    rows += [_beside(pairs[start : start + PAIRS]) for start in range(0, len(pairs), PAIRS)]
    rows += [_line(LEGEND, SHEET_PX, TITLE_PX)]
    return to_image(np.concatenate([_to_width(row, SHEET_PX) for row in rows]))


def draw_clip(clip: VideoSample, most_points: int, zoom: int) -> UInt8[Tensor, "T 3 high wide"]:
    """Every frame of an unbatched clip with its labels, enlarged by a whole factor."""
    shown = _drawable(clip, most_points)
    painter = TrackPainter(shown.tracks, shown.visible, shown.queries.frame, TrackStyle(zoom=zoom))
    return torch.stack([painter.draw(frame, t) for t, frame in enumerate(clip.video)])


def is_pair(clip: VideoSample) -> bool:
    """Whether a clip is shown as two views rather than as a film."""
    return len(clip.video) == 2


def _strip(clip: VideoSample, most_points: int) -> UInt8[np.ndarray, "h w 3"]:
    """Some frames side by side."""
    side = (SHEET_PX - (COLUMNS - 1) * GAP_PX) // COLUMNS
    times = torch.linspace(0, len(clip.video) - 1, min(COLUMNS, len(clip.video))).round().long()
    frames, shown = _fitting(clip.video[times], side), _drawable(clip, most_points)
    tracks = rescale(shown.tracks, clip.video.shape[-2:], frames.shape[-2:])
    painter = TrackPainter(tracks, shown.visible, shown.queries.frame)
    tiles = []
    for frame, t in zip(frames, times.tolist(), strict=True):
        tile = to_array(painter.draw(frame, t))
        tiles.append(text(tile, (6.0, len(tile) - 5.0), str(t), 0.8 * TITLE_PX, anchor="ld"))
    return _beside(tiles)


def _pair(clip: VideoSample, most_points: int, width: int) -> UInt8[np.ndarray, "h w 3"]:
    """Two views side by side with their matches."""
    height, wide = _filled(clip.video)
    views, shown = (
        _fitting(clip.video[..., :height, :wide], (width - GAP_PX) // 2),
        _drawable(clip, most_points),
    )
    places = rescale(shown.tracks, (height, wide), views.shape[-2:]).double().numpy()
    visible, wide = shown.visible.numpy(), views.shape[-1]
    colours = rainbow(places[0], *views.shape[-2:])
    canvas = _beside([to_array(view) for view in views])
    lines = Layer(*canvas.shape[:2])
    for n in np.flatnonzero(visible.all(0)):
        lines.line((places[0, n], places[1, n] + (wide + GAP_PX, 0)), colours[n], 1, 0.7)
    canvas = lines.onto(canvas)
    for t, view in enumerate((canvas[:, :wide], canvas[:, -wide:])):
        view[:] = _marks(places[t], visible[t], colours, *view.shape[:2]).onto(view)
    return canvas


def _marks(places: np.ndarray, visible: np.ndarray, colours: list[Colour], height: int, width: int) -> Layer:
    """One view's points, those that are visible on top; marks end where the view ends."""
    layer, radius = Layer(height, width), 1.2 * mark_size(height, width)
    for n in np.argsort(visible, kind="stable"):
        mark = layer.dot if visible[n] else layer.ring
        mark(places[n], radius, colours[n])
    return layer


def _drawable(clip: VideoSample, most_points: int) -> VideoSample:
    """The clip with an even selection of its points, those of a film from the half that is seen longest."""
    order = clip.visible.sum(0).argsort(descending=True, stable=True)
    order = order if is_pair(clip) else order[: max(most_points, len(order) // 2)]
    some = torch.linspace(0, len(order) - 1, min(most_points, len(order))).round().long()
    points = order[some] if len(order) else order
    clip = replace(
        clip,
        queries=Queries(xy=clip.queries.xy[points], frame=clip.queries.frame[points]),
        **{name: getattr(clip, name)[:, points] for name in ("tracks", "visible", "labelled", "located")},
    )
    return replace(clip, tracks=torch.where(clip.located[..., None], clip.tracks, NOWHERE))


def _fitting(frames: UInt8[Tensor, "T 3 H W"], side: int) -> UInt8[Tensor, "T 3 h w"]:
    """The frames as large as fits a square of ``side`` px."""
    height, width = frames.shape[-2:]
    factor = side / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return torch.stack([to_image(cv2.resize(to_array(frame), size, interpolation=how)) for frame in frames])


def _filled(video: UInt8[Tensor, "T 3 H W"]) -> tuple[int, int]:
    """Height and width of what is not black: views are padded at the right and the bottom."""
    light = video.amax((0, 1)) > 0  # H W
    return tuple(
        int(light.any(1 - axis).nonzero().max()) + 1 if light.any() else light.shape[axis] for axis in (0, 1)
    )


def _title(clip: VideoSample) -> str:
    height, width = clip.video.shape[-2:]
    num_points = clip.visible.shape[1]
    if is_pair(clip):
        overlap = clip.visible[1].sum() / clip.labelled[1].sum().clamp(min=1)
        return f"{num_points} points, overlap {overlap:.0%}"
    share = clip.visible.float().mean().item()
    return f"{len(clip.video)} frames of {width} x {height}, {num_points} points, {share:.0%} visible"


def _titled(clip: VideoSample, picture: np.ndarray, width: int) -> np.ndarray:
    """A picture under a line with the clip's name, shortened in its middle if need be, and its numbers."""
    facts, room = _title(clip), int(width / (LETTER * TITLE_PX)) - 4
    name, left = str(clip.name), max(12, room - len(_title(clip)))
    name = name if len(name) <= left else f"{name[: left // 2 - 2]} ... {name[-left // 2 + 3 :]}"
    gap = np.full((GAP_PX, width, 3), PANEL, np.uint8)
    return np.concatenate([_line(f"{name}    {facts}", width, TITLE_PX), _to_width(picture, width), gap])


def _line(words: str, width: int, size: float) -> np.ndarray:
    strip = np.full((round(1.7 * size), width, 3), PANEL, np.uint8)
    return text(strip, (0.4 * size, 0.85 * size), words, size, anchor="lm")


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures in a row, their upper borders level."""
    height = max(len(picture) for picture in pictures)
    parts = []
    for picture in pictures:
        below = np.full((height - len(picture), picture.shape[1], 3), PANEL, np.uint8)
        parts += [np.concatenate([picture, below]), np.full((height, GAP_PX, 3), PANEL, np.uint8)]
    return np.concatenate(parts[:-1], axis=1)


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    right = np.full((len(picture), width - picture.shape[1], 3), PANEL, np.uint8)
    return np.concatenate([picture, right], axis=1)
