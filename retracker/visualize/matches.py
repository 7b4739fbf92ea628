"""Matches between two images, drawn as lines from one to the other."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.visualize.canvas import Colour, Layer, dim, mark_size, text, to_array, to_image

GAP_PX = 8
LEGEND_SHARE = 0.07  # of the picture's height


def draw_matches(
    image_a: UInt8[Tensor, "3 Ha Wa"],
    image_b: UInt8[Tensor, "3 Hb Wb"],
    points_a: Float[Tensor, "N 2"],
    points_b: Float[Tensor, "N 2"],
    confidence: Float[Tensor, " N"],
    *,
    max_lines: int = 200,
    legend: str = "confidence",
) -> UInt8[Tensor, "3 high wide"]:
    """Both images side by side with a line per match, red for an unsure one to green for a sure one.

    Of more than ``max_lines`` matches an even selection is drawn, so that the picture stays readable; the
    legend counts all of them, and says what red to green means where that is not ``confidence``.
    """
    canvas, shift = _beside(dim(to_array(image_a), 0.3), dim(to_array(image_b), 0.3))
    height, width = canvas.shape[:2]
    chosen = torch.linspace(0, len(points_a) - 1, min(max_lines, len(points_a))).round().long()
    chosen = chosen[confidence[chosen].cpu().argsort()]  # sure ones on top
    start = points_a.detach().cpu().double().numpy()[chosen]
    end = points_b.detach().cpu().double().numpy()[chosen] + shift
    colours = confidence_colours(confidence.detach().cpu().numpy()[chosen])
    lines, dots = Layer(height, width), Layer(height, width)
    radius = 0.6 * mark_size(height, width // 2)
    for ends in zip(start, end, colours, strict=True):
        lines.line(ends[:2], ends[2], max(1, round(radius / 2)), 0.6)
        for xy in ends[:2]:
            dots.dot(xy, radius, ends[2])
    return to_image(_with_legend(dots.onto(lines.onto(canvas)), len(points_a), len(chosen), legend))


def confidence_colours(confidence: Float[np.ndarray, " n"]) -> list[Colour]:
    """Red for 0 over yellow to green for 1."""
    hue = 60 * np.clip(confidence, 0, 1)
    tint = np.stack([hue, np.full_like(hue, 200), np.full_like(hue, 245)], axis=-1)
    colours = cv2.cvtColor(tint[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0] if len(hue) else []
    return [tuple(int(c) for c in colour) for colour in colours]


def _beside(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two pictures on one sheet, and where the corner of the second lies on it (x, y)."""
    height = max(len(a), len(b))
    sheet = np.full((height, a.shape[1] + GAP_PX + b.shape[1], 3), 255, np.uint8)
    sheet[: len(a), : a.shape[1]] = a
    sheet[: len(b), a.shape[1] + GAP_PX :] = b
    return sheet, np.array([a.shape[1] + GAP_PX, 0.0])


def _with_legend(picture: np.ndarray, num_matches: int, num_drawn: int, meaning: str) -> np.ndarray:
    height, width = max(28, round(LEGEND_SHARE * len(picture))), picture.shape[1]
    strip = np.full((height, width, 3), 24, np.uint8)
    size = 0.5 * height
    words = f"{num_matches} matches" + (f", {num_drawn} drawn" if num_drawn < num_matches else "")
    strip = text(strip, (size / 2, height / 2), words, size, anchor="lm")
    ramp = np.array(confidence_colours(np.linspace(0, 1, max(2, width // 5))), np.uint8)
    right = int(width - 1.5 * size)
    strip[int(0.3 * height) : int(0.7 * height), right - len(ramp) : right] = ramp
    strip = text(strip, (right - len(ramp) - size / 2, height / 2), f"{meaning} 0", size, anchor="rm")
    strip = text(strip, (right + size / 3, height / 2), "1", size, anchor="lm")
    return np.concatenate([picture, strip])
