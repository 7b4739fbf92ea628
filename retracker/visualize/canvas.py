"""Pictures as RGB arrays: conversion, sizes, colours, text, and pictures beside each other."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from retracker.visualize.palette import INK, PAPER, Colour, lightened


def to_array(image: UInt8[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A writable copy of an image, channels last, as OpenCV wants it."""
    return np.array(image.detach().cpu().permute(1, 2, 0).numpy(), order="C")


def to_image(array: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def mark_size(height: int, width: int) -> float:
    """The radius of a point's mark in pixels, in proportion to the image."""
    return max(2.6, 0.0085 * (height * width) ** 0.5)


def rainbow(xy: Float[np.ndarray, "n 2"], height: int, width: int) -> list[Colour]:
    """One colour per point, so that neighbours look alike and far points differ: hue follows the position.

    All are light enough for dark rims.
    """
    along = 0.8 * xy[:, 1] / height + 0.2 * xy[:, 0] / width
    hue = 170 * np.clip(along, 0, 1)  # OpenCV's hues end at 180; stop before red returns
    tint = np.stack([hue, np.full_like(hue, 190), np.full_like(hue, 255)], axis=-1)
    if not len(xy):
        return []
    colours = lightened(cv2.cvtColor(tint[None].astype(np.uint8), cv2.COLOR_HSV2RGB)[0].astype(float))
    return [tuple(int(c) for c in colour) for colour in colours]


def dim(image: UInt8[np.ndarray, "h w 3"], strength: float | int) -> UInt8[np.ndarray, "h w 3"]:
    """Fade an image towards its dark grey version, so that marks stand out; 0 leaves it as it is."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, 1 - strength, grey, 0.35 * strength, 0)


def text(
    image: UInt8[np.ndarray, "h w 3"],
    xy: tuple[float | int, float | int],
    words: str,
    size: float | int,
    *,
    anchor: str = "la",
) -> UInt8[np.ndarray, "h w 3"]:
    """A copy of ``image`` with a line of light text, outlined in dark; ``anchor`` as PIL names it."""
    picture = Image.fromarray(image)
    outline = {"stroke_width": max(1, round(size / 12)), "stroke_fill": INK}
    ImageDraw.Draw(picture).text(
        xy, words, font=_font(max(1, round(size))), fill=PAPER, anchor=anchor, **outline
    )
    return np.array(picture)


def text_width(words: str, size: float | int) -> float:
    """How wide a line of text is, px."""
    return _font(max(1, round(size))).getlength(words)


def enlarge(image: UInt8[np.ndarray, "h w 3"], factor: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Magnify by a whole factor, smoothly."""
    size = (factor * image.shape[1], factor * image.shape[0])
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


def beside(pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], gap: int) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures on one white sheet, from left to right, their upper borders level."""
    height = max(len(picture) for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1)
    sheet = np.full((height, width, 3), 255, np.uint8)
    left = 0
    for picture in pictures:
        sheet[: len(picture), left : left + picture.shape[1]] = picture
        left += picture.shape[1] + gap
    return sheet


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
