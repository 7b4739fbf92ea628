"""Matches between two images, drawn as lines from one to the other."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.geometry.coords import rescale
from retracker.visualize.canvas import dim, mark_size, text, text_width, to_array, to_image
from retracker.visualize.layer import Layer
from retracker.visualize.palette import Colour

GAP_PX = 8
MAX_LINES = 200
INLIER: Colour = (70, 225, 95)
OUTLIER: Colour = (245, 70, 60)
HEIGHTS = (360, 960)  # px: lowest and highest of a picture for people
WIDEST = 2.0  # of its height
LEGEND_SHARE = 0.07  # of the picture's height


def draw_matches(
    image_a: UInt8[Tensor, "3 Ha Wa"],
    image_b: UInt8[Tensor, "3 Hb Wb"],
    points_a: Float[Tensor, "N 2"],
    points_b: Float[Tensor, "N 2"],
    confidence: Float[Tensor, " N"],
    *,
    max_lines: int = MAX_LINES,
    legend: str = "confidence",
) -> UInt8[Tensor, "3 high wide"]:
    """Both images side by side with a line per match, red for an unsure one to green for a sure one.

    ``points_a`` are raster px of image a, ``points_b`` of image b. Of more than ``max_lines`` matches an even
    selection is drawn, so that the picture stays readable; the legend counts all of them, and says what red
    to green means where that is not ``confidence``.
    """
    chosen = _selection(len(points_a), max_lines)
    chosen = chosen[confidence.detach().cpu()[chosen].argsort()]  # sure ones on top
    colours = confidence_colours(confidence.detach().cpu()[chosen].numpy())
    picture = _with_lines((image_a, image_b), (points_a, points_b), chosen, colours)
    return to_image(_with_ramp(picture, _counted(len(points_a), len(chosen)), legend))


def draw_verified(
    image_a: UInt8[Tensor, "3 Ha Wa"],
    image_b: UInt8[Tensor, "3 Hb Wb"],
    points_a: Float[Tensor, "N 2"],
    points_b: Float[Tensor, "N 2"],
    inliers: Bool[Tensor, " N"],
    *,
    max_lines: int = MAX_LINES,
    geometry: str,
) -> UInt8[Tensor, "3 high wide"]:
    """Both images side by side: inliers of the geometry named so in green, over all others in red.

    ``points_a`` are raster px of image a, ``points_b`` of image b.
    """
    chosen = _selection(len(points_a), max_lines)
    chosen = chosen[inliers.detach().cpu()[chosen].int().argsort(stable=True)]  # inliers on top
    colours = [INLIER if inlier else OUTLIER for inlier in inliers[chosen].tolist()]
    picture = _with_lines((image_a, image_b), (points_a, points_b), chosen, colours)
    count = int(inliers.sum())
    entries = [(f"{count} inliers ({geometry})", INLIER), (f"{len(inliers) - count} others", OUTLIER)]
    return to_image(_with_entries(picture, _counted(len(points_a), len(chosen)), entries))


def readable(
    image: UInt8[Tensor, "3 H W"], points: Float[Tensor, "N 2"], height: int
) -> tuple[UInt8[Tensor, "3 h w"], Float[Tensor, "N 2"]]:
    """An image and its points at a height to be looked at, or lower where it would be too wide."""
    size = (image.shape[-2], image.shape[-1])
    factor = min(height / size[0], WIDEST * height / size[1])
    new = (max(1, round(factor * size[0])), max(1, round(factor * size[1])))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return to_image(cv2.resize(to_array(image), new[::-1], interpolation=how)), rescale(points, size, new)


def readable_height(*images: UInt8[Tensor, "3 _H _W"]) -> int:
    """A height at which pictures of these images can be looked at together."""
    return min(HEIGHTS[1], max(HEIGHTS[0], *(image.shape[-2] for image in images)))


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


def _selection(num_matches: int, max_lines: int) -> Int[Tensor, " n"]:
    """Which matches to draw: any ones, lest a grid of them leave stripes, but always the same."""
    anyhow = torch.randperm(num_matches, generator=torch.Generator().manual_seed(0))
    return anyhow[:max_lines].sort().values


def _with_lines(
    images: tuple[UInt8[Tensor, "3 _H _W"], UInt8[Tensor, "3 _H2 _W2"]],
    points: tuple[Float[Tensor, "N 2"], Float[Tensor, "N 2"]],
    chosen: Int[Tensor, " n"],
    colours: list[Colour],
) -> np.ndarray:
    """Both images on one sheet and a line for each match that is chosen, the last on top."""
    canvas, shift = _beside(*(dim(to_array(image), 0.3) for image in images))
    height, width = canvas.shape[:2]
    start, end = (xy.detach().cpu().double()[chosen].numpy() for xy in points)
    lines, dots = Layer(height, width), Layer(height, width)
    radius = 0.6 * mark_size(height, width // 2)
    opacity = min(0.6, 60 / max(1, len(chosen)))  # of many, none hides the pictures
    for begin, finish, colour in zip(start, end + shift, colours, strict=True):
        lines.line((begin, finish), colour, max(1, round(radius / 2)), opacity)
        for xy in (begin, finish):
            dots.dot(xy, radius, colour)
    return dots.onto(lines.onto(canvas))


def _counted(num_matches: int, num_drawn: int) -> str:
    return f"{num_matches} matches" + (f", {num_drawn} drawn" if num_drawn < num_matches else "")


def _strip(picture: np.ndarray, words: str) -> np.ndarray:
    """What goes below a picture, with words at its left."""
    height = max(28, round(LEGEND_SHARE * len(picture)))
    strip = np.full((height, picture.shape[1], 3), 24, np.uint8)
    return text(strip, (height / 4, height / 2), words, 0.5 * height, anchor="lm")


def _with_ramp(picture: np.ndarray, words: str, meaning: str) -> np.ndarray:
    """With a strip below it that says what the colours from red to green mean."""
    strip, width = _strip(picture, words), picture.shape[1]
    height = len(strip)
    size = 0.5 * height
    ramp = np.array(confidence_colours(np.linspace(0, 1, max(2, width // 5))), np.uint8)
    right = max(len(ramp), int(width - 1.5 * size))  # of a picture of a few px it is all there is
    strip[int(0.3 * height) : int(0.7 * height), right - len(ramp) : right] = ramp
    strip = text(strip, (right - len(ramp) - size / 2, height / 2), f"{meaning} 0", size, anchor="rm")
    strip = text(strip, (right + size / 3, height / 2), "1", size, anchor="lm")
    return np.concatenate([picture, strip])


def _with_entries(picture: np.ndarray, words: str, entries: list[tuple[str, Colour]]) -> np.ndarray:
    """With a strip below it that says what each colour means, from the right to the left."""
    strip = _strip(picture, words)
    height, right = len(strip), picture.shape[1] - len(strip) / 4
    size = 0.5 * height
    for label, colour in reversed(entries):
        strip = text(strip, (right, height / 2), label, size, anchor="rm")
        right -= text_width(label, size) + 0.6 * size
        marks = Layer(*strip.shape[:2])
        marks.dot((right, height / 2), 0.3 * size, colour)
        strip = marks.onto(strip)
        right -= 1.2 * size
    return np.concatenate([picture, strip])
