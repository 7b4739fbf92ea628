"""A short video as an animated picture, for pages that show pictures only (TensorBoard)."""

import io

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor


def animate(video: UInt8[Tensor, "T 3 H W"], fps: float) -> bytes:
    """The video as the bytes of an animated GIF that loops for ever."""
    frames = [Image.fromarray(frame.permute(1, 2, 0).contiguous().cpu().numpy()) for frame in video]
    file = io.BytesIO()
    frames[0].save(
        file, format="GIF", save_all=True, append_images=frames[1:], duration=round(1000 / fps), loop=0
    )
    return file.getvalue()
