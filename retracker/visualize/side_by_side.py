"""Several sets of tracks on the same frames, panel by panel, beside the truth if there is one."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.visualize.canvas import mark_size, text, text_width, to_array, to_image
from retracker.visualize.layer import Layer
from retracker.visualize.legend import with_legend
from retracker.visualize.palette import Colour
from retracker.visualize.strokes import Strokes
from retracker.visualize.style import TrackStyle, readable_zoom
from retracker.visualize.tracks import TrackPainter

GAP_PX = 6  # between panels
GAP_COLOUR: Colour = (24, 24, 28)
ERROR_COLOUR: Colour = (255, 56, 56)
SHAPES = (0.6, 2.4)  # width over height of a sheet that a screen shows well
TITLE_SHARE = 0.05  # of a panel's height


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Panels with titles in a grid; with a truth, that is the last, and red lines lead to it in the others.

    All painters have the same points, and styles of one zoom.
    """

    panels: Mapping[str, TrackPainter]
    truth: TrackPainter | None = None
    truth_title: str = "truth"

    def draw(self, image: UInt8[Tensor, "3 H W"], t: int) -> UInt8[Tensor, "3 high wide"]:
        """All panels for the video's frame ``t``."""
        tiles = [self._tile(painter, image, t, title) for title, painter in self.panels.items()]
        if self.truth is not None:
            tiles.append(_titled(to_array(self.truth.draw(image, t)), self.truth_title))
        return to_image(in_grid(tiles))

    def _tile(self, painter: TrackPainter, image: Tensor, t: int, title: str) -> UInt8[np.ndarray, "h w 3"]:
        canvas = painter.background(image)
        layer = Layer(*canvas.shape[:2])
        painter.add(layer, t)
        if self.truth is not None:
            layer.strokes(_error_lines(painter, self.truth, t, *canvas.shape[:2]))
        drawn = layer.onto(canvas)
        return _titled(with_legend(drawn, painter.scale) if painter.scale else drawn, title)


def draw_side_by_side(
    video: UInt8[Tensor, "T 3 H W"],
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    true_tracks: Float[Tensor, "T N 2"],
    true_visible: Bool[Tensor, "T N"],
    *,
    first_frame: Int[Tensor, " N"] | None = None,
    trail: int = 12,
) -> UInt8[Tensor, "T 3 high wide"]:
    """Prediction on the left, a red line leading from each point to its true place; truth on the right.

    Both tracks are in raster px of the video. ``first_frame``: in which frame each point is born.
    """
    style = TrackStyle(trail=trail, zoom=readable_zoom(video.shape[-2]))
    picture = SideBySide(
        panels={"prediction": TrackPainter(tracks, visible, first_frame, style)},
        truth=TrackPainter(true_tracks, true_visible, first_frame, style),
    )
    return torch.stack([picture.draw(frame, t) for t, frame in enumerate(video)])


def contact_sheet(pictures: list[UInt8[Tensor, "3 H W"]], titles: list[str]) -> UInt8[Tensor, "3 high wide"]:
    """Pictures of one size on one sheet, each with a title."""
    return to_image(
        in_grid([_titled(to_array(p), title, "ld") for p, title in zip(pictures, titles, strict=True)])
    )


def in_grid(tiles: list[UInt8[np.ndarray, "h w 3"]]) -> UInt8[np.ndarray, "high wide 3"]:
    """Tiles of one size on a sheet: two in a row, more as they fit a screen."""
    height, width = tiles[0].shape[:2]
    columns = num_columns(len(tiles), height, width)
    rows = ceil(len(tiles) / columns)
    shape = (rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3)
    sheet = np.full(shape, GAP_COLOUR, np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = row * (height + GAP_PX), column * (width + GAP_PX)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def num_columns(count: int, height: int, width: int) -> int:
    """In how many columns ``count`` tiles of a size are laid out: with few gaps, near a screen's shape."""
    if count <= 2:
        return count

    def unfit(columns: int) -> tuple[bool, int, int]:
        rows = ceil(count / columns)
        shape = columns * width / (rows * height)
        return not SHAPES[0] <= shape <= SHAPES[1], rows * columns - count, -columns

    return min(range(1, count + 1), key=unfit)


def _titled(tile: UInt8[np.ndarray, "h w 3"], title: str, corner: str = "la") -> UInt8[np.ndarray, "h w 3"]:
    """With a title in the corner that an anchor of PIL names, shortened if need be."""
    height, width = tile.shape[:2]
    size = max(12.0, TITLE_SHARE * height)
    while len(title) > 1 and text_width(title, size) > width - size:
        title = f"{title[:-2]}\N{HORIZONTAL ELLIPSIS}"
    place = (
        size / 2 if corner[0] == "l" else width - size / 2,
        size / 2 if corner[1] == "a" else height - size / 2,
    )
    return text(tile, place, title, size, anchor=corner)


def _error_lines(painter: TrackPainter, truth: TrackPainter, t: int, height: int, width: int) -> Strokes:
    known = truth.scene.visible[t] & (painter.scene.first <= t)
    start, end = painter.scene.tracks[t, known], truth.scene.tracks[t, known]
    both = np.ones((len(start), 2))
    return Strokes(
        start=start,
        end=end,
        radius=both * max(0.8, mark_size(height, width) / 5),
        opacity=0.95 * both,
        colour=both[..., None] * np.array(ERROR_COLOUR, float),
    )
