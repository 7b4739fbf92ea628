"""A dense warp as a picture: the second image brought onto the first, as far as it is certain."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.geometry.coords import sample_image
from retracker.visualize.canvas import text, to_array, to_image

GAP_PX = 8
CAPTION_SHARE = 0.06  # of the picture's height
UNKNOWN = 40.0  # grey level: where the warp is not certain at all


def draw_warp(
    image_a: UInt8[Tensor, "3 H W"],
    image_b: UInt8[Tensor, "3 Hb Wb"],
    positions: Float[Tensor, "H W 2"],
    certainty: Float[Tensor, "H W"],
) -> UInt8[Tensor, "3 high wide"]:
    """Image a, image b warped onto it and faded to grey by its certainty, and the certainty itself.

    ``positions`` are where each pixel of image a lies in image b (raster px), ``certainty`` is in [0, 1].
    """
    height, width = certainty.shape
    seen = sample_image(image_b[None].float(), positions.reshape(1, -1, 2))[0].reshape(height, width, 3)
    share = certainty[..., None]
    warped = (share * seen + (1 - share) * UNKNOWN).round().clamp(0, 255).to(torch.uint8)
    heat = cv2.applyColorMap((255 * certainty.clamp(0, 1)).byte().numpy(), cv2.COLORMAP_INFERNO)
    panels = {
        "image a": to_array(image_a),
        "image b, warped onto a": warped.numpy(),
        "certainty (0 black, 1 yellow)": np.ascontiguousarray(heat[..., ::-1]),
    }
    gap = np.full((height, GAP_PX, 3), 255, np.uint8)
    sheet = np.concatenate([part for panel in panels.values() for part in (gap, panel)][1:], axis=1)
    strip_height = max(20, round(CAPTION_SHARE * height))
    strip = np.full((strip_height, sheet.shape[1], 3), 24, np.uint8)
    size = min(0.6 * strip_height, width / 16)  # the longest caption fits below its panel
    for index, words in enumerate(panels):
        left = index * (width + GAP_PX) + strip_height / 4
        strip = text(strip, (left, strip_height / 2), words, size, anchor="lm")
    return to_image(np.concatenate([sheet, strip]))
