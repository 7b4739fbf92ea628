"""The colours of what frames and names the coloured marks: dark ink, light paper, and rims of either."""

import numpy as np
from jaxtyping import Float

INK = (16, 16, 20)
PAPER = (245, 245, 245)
LUMA = np.array([0.299, 0.587, 0.114])
DARK = 105.0  # luma below which a colour needs a light rim to stand out from a dark picture
LIGHT = DARK + 10  # luma that no colour of a point by itself is below

Colour = tuple[int, int, int]


def lightened(colours: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Dark colours mixed with as much white as makes their rims dark: a light rim looks like a ring."""
    luma = colours @ LUMA
    white = ((LIGHT - luma) / (255 - luma)).clip(min=0)[:, None]
    return (1 - white) * colours + 255 * white


def rim_colours(colours: Float[np.ndarray, "*B 3"]) -> Float[np.ndarray, "*B 3"]:
    """Dark for a light colour, light for a dark one."""
    light = colours @ LUMA.astype(colours.dtype) > DARK
    return np.where(light[..., None], np.array(INK, colours.dtype), np.array(PAPER, colours.dtype))
