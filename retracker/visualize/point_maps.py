"""Something that is known for a grid of points of a view, as colours over it."""

from collections.abc import Mapping
from math import ceil

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.visualize.canvas import beside, dim, enlarge, text, to_array, to_image

GAP_PX = 8
READABLE_PX = 320  # the view is enlarged until it is at least this high
OPACITY = 0.65


def draw_point_maps(
    image: UInt8[Tensor, "3 H W"], maps: Mapping[str, Float[Tensor, "rows columns"]]
) -> UInt8[Tensor, "3 high wide"]:
    """The view once per map, side by side: each cell of the grid in its colour, from 0 (dark) to 1 (bright).

    Where a map is NaN nothing is known, and the view is left grey. Names stand below.
    """
    view = dim(enlarge(to_array(image), max(1, ceil(READABLE_PX / image.shape[-2]))), 0.7)
    return to_image(beside([_panel(view, values, name) for name, values in maps.items()], GAP_PX))


def _panel(
    view: UInt8[np.ndarray, "h w 3"], values: Float[Tensor, "rows columns"], name: str
) -> UInt8[np.ndarray, "h2 w 3"]:
    height, width = view.shape[:2]
    cells = cv2.resize(
        values.detach().cpu().float().numpy(), (width, height), interpolation=cv2.INTER_NEAREST
    )
    known = ~np.isnan(cells)
    mixed = (1 - OPACITY) * view + OPACITY * _colours(np.where(known, cells, 0.0))
    picture = np.where(known[..., None], mixed.round(), view).astype(np.uint8)
    strip = np.full((32, width, 3), 24, np.uint8)
    strip = text(strip, (8.0, 16.0), name, 15.0, anchor="lm")
    length, right = width // 4, width - 24
    strip[10:22, right - length : right] = _colours(np.linspace(0, 1, length)[None])
    strip = text(strip, (right - length - 6.0, 16.0), "0", 15.0, anchor="rm")
    return np.concatenate([picture, text(strip, (right + 6.0, 16.0), "1", 15.0, anchor="lm")])


def _colours(values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    bytes_of = (255 * values.clip(0, 1)).round().astype(np.uint8)
    return cv2.applyColorMap(bytes_of, cv2.COLORMAP_VIRIDIS)[..., ::-1]
