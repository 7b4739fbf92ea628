"""A small legend in the lower right corner of a picture: a ramp between two labels, or the wheel of flow."""

import numpy as np
from jaxtyping import Float, UInt8

from retracker.visualize.canvas import text, text_width
from retracker.visualize.colouring import Scale, flow_colours
from retracker.visualize.palette import PAPER

PANEL = (22, 22, 26)
PANEL_OPACITY = 0.62
LETTER_SHARE = 0.034  # of the picture's height
LETTERS_PX = (11.0, 26.0)  # lowest and highest
RAMP_LETTERS = 6.0  # length of a ramp, in heights of a letter
WIDEST = 0.9  # of the picture: a legend that is wider is left out


def with_legend(picture: UInt8[np.ndarray, "h w 3"], scale: Scale) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of the picture that says what its colours mean; or itself if it is too small for that."""
    size = round(float(np.clip(LETTER_SHARE * len(picture), *LETTERS_PX)))
    panel = _wheel_panel(scale.labels[0], size) if scale.ramp is None else _ramp_panel(scale, size)
    height, width = panel.shape[:2]
    margin = size // 2
    if width + 2 * margin > WIDEST * picture.shape[1] or height + 2 * margin > len(picture) / 2:
        return picture
    result = picture.copy()
    corner = result[-height - margin : -margin, -width - margin : -margin]
    # The panel is dark glass, its colours are not.
    glass = (panel == PANEL).all(-1, keepdims=True) * (1 - PANEL_OPACITY)
    corner[:] = (glass * corner + (1 - glass) * panel).round()
    return result


def _ramp_panel(scale: Scale, size: int) -> UInt8[np.ndarray, "h w 3"]:
    low, high = scale.labels
    length, gap = round(RAMP_LETTERS * size), 0.6 * size
    left = round(gap + text_width(low, size) + gap)
    width = round(left + length + gap + text_width(high, size) + gap)
    height = round(1.8 * size)
    panel = np.full((height, width, 3), PANEL, np.uint8)
    steps = np.linspace(0, len(scale.ramp) - 1, length).round().astype(int)
    panel[round(0.32 * height) : round(0.68 * height), left : left + length] = scale.ramp[steps]
    panel = text(panel, (gap, height / 2), low, size, anchor="lm")
    return text(panel, (width - gap, height / 2), high, size, anchor="rm")


def _wheel_panel(label: str, size: int) -> UInt8[np.ndarray, "h w 3"]:
    radius, gap = 2.0 * size, 0.5 * size
    height = round(2 * radius + 2 * gap)
    width = round(2 * radius + 3 * gap + text_width(label, size))
    panel = np.full((height, width, 3), PANEL, np.uint8)
    centre = np.array([gap + radius, height / 2])
    disc, share = _disc(round(2 * (gap + radius)), height, centre, radius)
    left = panel[:, : disc.shape[1]]
    left[:] = (share * disc + (1 - share) * left).round()
    marks = text(panel, (2 * radius + 2 * gap, height / 2), label, size, anchor="lm")
    middle = (np.hypot(*(_grid(width, height) - centre).transpose(2, 0, 1)) < 1.2)[..., None]
    return np.where(middle, np.array(PAPER, np.uint8) // 3, marks)


def _disc(
    width: int, height: int, centre: np.ndarray, radius: float
) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w 1"]]:
    """The colours of all motions up to the longest, and each pixel's share of the disc that they fill."""
    motion = (_grid(width, height) - centre) / radius
    distance = radius * np.hypot(motion[..., 0], motion[..., 1])
    inside = motion / np.maximum(1.0, distance / radius)[..., None]
    return flow_colours(inside), (radius - distance + 0.5).clip(0, 1)[..., None]


def _grid(width: int, height: int) -> Float[np.ndarray, "h w 2"]:
    return np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
