"""What the coarse matcher believes: its probability over the cells of a frame, and over the dustbin."""

from math import ceil

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.types import Grid
from retracker.visualize.canvas import dim, enlarge, mark_size, text, to_array, to_image
from retracker.visualize.layer import Layer
from retracker.visualize.palette import Colour

READABLE_PX = 320  # the frame is enlarged until it is at least this high
FOUND: Colour = (255, 255, 255)
TRUE: Colour = (96, 255, 128)
DUSTBIN: Colour = (255, 140, 60)
PANEL: Colour = (24, 24, 28)


def draw_heat_map(
    image: UInt8[Tensor, "3 H W"],
    cells: Float[Tensor, " K"],
    grid: Grid,
    dustbin_probability: float,
    found_xy: Float[Tensor, "2"],
    true_xy: Float[Tensor, "2"],
) -> UInt8[Tensor, "3 high wide"]:
    """One point's coarse match over a frame, with a bar for the dustbin and a legend below it.

    ``cells`` are the logits of the grid's cells, row by row, without the dustbin; colours show their softmax
    relative to the best cell. The tracker puts the point at ``found_xy``; it is at ``true_xy`` (raster px).
    """
    zoom = max(1, ceil(READABLE_PX / image.shape[-2]))
    canvas = _warm(dim(enlarge(to_array(image), zoom), 0.75), cells, grid, zoom)
    height, width = canvas.shape[:2]
    layer, radius = Layer(height, width), 1.4 * mark_size(height, width)
    layer.ring((zoom * true_xy).tolist(), 1.6 * radius, TRUE)
    layer.dot((zoom * found_xy).tolist(), 0.7 * radius, FOUND)
    peak = cells.softmax(0).max().item() * (1 - dustbin_probability)
    panel = _panel(width, max(56, height // 6), dustbin_probability, peak)
    return to_image(np.concatenate([layer.onto(canvas), panel]))


def _warm(canvas: np.ndarray, cells: Tensor, grid: Grid, zoom: int) -> np.ndarray:
    """Lay the cells' probabilities over the picture, each where its centre is."""
    probability = cells.detach().float().softmax(0).reshape(grid.rows, grid.columns).cpu().numpy()
    share = (probability / probability.max()) ** 0.5  # the root shows the runners-up, too
    scale, shift = zoom * grid.stride, zoom * grid.offset - 0.5  # from a cell's index to a pixel's index
    to_canvas = np.array([[scale, 0, shift], [0, scale, shift]])
    size = (canvas.shape[1], canvas.shape[0])
    share = cv2.warpAffine(share, to_canvas, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    colours = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    opacity = 0.9 * share[..., None]
    return ((1 - opacity) * canvas + opacity * colours).round().astype(np.uint8)


def _panel(width: int, height: int, dustbin: float, peak: float) -> np.ndarray:
    """The strip below the picture: the dustbin's probability as a bar, and what the marks mean."""
    panel = np.full((height, width, 3), PANEL, np.uint8)
    size, left = 0.26 * height, 0.2 * height
    panel = text(panel, (left, 0.28 * height), f"dustbin {dustbin:.2f}", size, anchor="lm")
    bar, end = int(left + 7.2 * size), int(width - left - 5.4 * size)
    rows = slice(int(0.18 * height), int(0.38 * height))
    panel[rows, bar:end] = (70, 70, 76)
    panel[rows, bar : bar + round(dustbin * max(0, end - bar))] = DUSTBIN
    panel = text(panel, (width - left, 0.28 * height), f"best {peak:.2f}", size, anchor="rm")
    layer, y = Layer(height, width), 0.72 * height
    layer.dot((left + size / 2, y), 0.3 * size, FOUND)
    layer.ring((left + 5 * size, y), 0.4 * size, TRUE)
    panel = text(layer.onto(panel), (left + 1.2 * size, y), "found", size, anchor="lm")
    return text(panel, (left + 5.8 * size, y), "truth", size, anchor="lm")
