"""A short video as an animated picture, for pages that show pictures only."""

import io
from collections.abc import Iterable
from pathlib import Path

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from retracker.media.files import replacing


def animate(video: UInt8[Tensor, "T 3 H W"], fps: float) -> bytes:
    """The video as the bytes of an animated GIF that loops for ever."""
    file = io.BytesIO()
    _save(file, video, fps)
    return file.getvalue()


def write_animation(path: Path, frames: Iterable[UInt8[Tensor, "3 H W"]], fps: float) -> None:
    """Write frames as an animated GIF that loops for ever, taking them one by one.

    What it holds in memory is the palette picture of each: a byte per pixel.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        _save(file, frames, fps)


def _save(file: io.BufferedIOBase, frames: Iterable[UInt8[Tensor, "3 H W"]], fps: float) -> None:
    pictures = (Image.fromarray(frame.permute(1, 2, 0).contiguous().cpu().numpy()) for frame in frames)
    next(pictures).save(
        file, format="GIF", save_all=True, append_images=pictures, duration=round(1000 / fps), loop=0
    )
