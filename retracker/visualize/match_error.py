"""How far off matches are: two views side by side, and a line for each point that is to be found again."""

from math import ceil

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.visualize.canvas import beside, dim, enlarge, mark_size, text, to_array, to_image
from retracker.visualize.layer import Layer
from retracker.visualize.matches import confidence_colours

GAP_PX = 8
READABLE_PX = 320  # views are enlarged until they are at least this high
GOOD_PX, BAD_PX = 1.0, 5.0  # errors from which a line is no longer quite green, and quite red


def draw_match_errors(
    image0: UInt8[Tensor, "3 H0 W0"],
    image1: UInt8[Tensor, "3 H1 W1"],
    points0: Float[Tensor, "N 2"],
    found1: Float[Tensor, "N 2"],
    true1: Float[Tensor, "N 2"],
    *,
    max_lines: int,
) -> UInt8[Tensor, "3 high wide"]:
    """A line from each point of view 0 to where it was found, green if that is right and red if it is not.

    Points are in raster px of their own view, errors in those of view 1. Of more than ``max_lines`` an even
    selection is drawn; the legend counts all.
    """
    zoom = max(1, ceil(READABLE_PX / min(image0.shape[-2], image1.shape[-2])))
    views = [dim(enlarge(to_array(image), zoom), 0.4) for image in (image0, image1)]
    canvas = beside(views, GAP_PX)
    shift = np.array([views[0].shape[1] + GAP_PX, 0.0])
    error = (found1 - true1).norm(dim=-1).detach().cpu()
    chosen = torch.linspace(0, len(error) - 1, min(max_lines, len(error))).round().long()
    chosen = chosen[error[chosen].argsort(descending=True)]  # the right ones on top
    start, end = (zoom * xy.detach().cpu().double()[chosen].numpy() for xy in (points0, found1))
    lines, dots = Layer(*canvas.shape[:2]), Layer(*canvas.shape[:2])
    radius = 0.6 * mark_size(*views[0].shape[:2])
    for ends in zip(start, end + shift, error_colours(error[chosen].numpy()), strict=True):
        lines.line(ends[:2], ends[2], max(1, round(radius / 2)), 0.6)
        for xy in ends[:2]:
            dots.dot(xy, radius, ends[2])
    return to_image(np.concatenate([dots.onto(lines.onto(canvas)), _legend(canvas.shape[1], error)]))


def error_colours(error: Float[np.ndarray, " n"]) -> list[tuple[int, int, int]]:
    """Green up to ``GOOD_PX``, over yellow to red from ``BAD_PX`` on."""
    return confidence_colours((BAD_PX - error) / (BAD_PX - GOOD_PX))


def _legend(width: int, error: Float[Tensor, " N"]) -> UInt8[np.ndarray, "h w 3"]:
    """How many points there are, the share that is found, and what the colours mean."""
    strip, size = np.full((32, width, 3), 24, np.uint8), 15.0
    shares = " ".join(f"{(error < px).double().mean():.2f}" for px in (1, 3, 5)) if len(error) else "-"
    strip = text(strip, (8.0, 16.0), f"{len(error)} points, PCK@1/3/5 {shares}", size, anchor="lm")
    right, length = width - 58, max(2, width // 8)
    ramp = np.array(error_colours(np.linspace(GOOD_PX, BAD_PX, length)), np.uint8)
    strip[10:22, right - length : right] = ramp
    strip = text(strip, (right - length - 6.0, 16.0), f"{GOOD_PX:.0f} px", size, anchor="rm")
    return text(strip, (right + 6.0, 16.0), f"{BAD_PX:.0f} px", size, anchor="lm")
