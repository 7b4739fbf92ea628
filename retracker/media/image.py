"""Still images on disk <-> RGB tensors."""

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from retracker.media.files import existing_file, replacing

GREY_16_BIT = ("I", "I;16", "I;16B", "I;16L")  # PIL's modes of deep grey images, which it would clip at 255


def read_image(path: str | Path) -> UInt8[Tensor, "3 H W"]:
    """Read any usual image as RGB, turned as its EXIF orientation says.

    Raises FileNotFoundError if it is missing and ValueError if it cannot be decoded.
    """
    path = existing_file(path)
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            pixels = _to_rgb(upright)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def write_image(path: str | Path, image: UInt8[Tensor, "3 H W"]) -> None:
    """Write an RGB image; the suffix (.png, .jpg, ...) names the format."""
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: expected the suffix of an image format, such as .png, got {path.suffix!r}")
    with replacing(path) as partial:
        Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(partial)


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode in GREY_16_BIT:
        grey = (np.asarray(image) // 256).astype(np.uint8)  # H W
        return np.repeat(grey[..., None], 3, axis=-1)
    return np.array(image.convert("RGB"))


def read_frame(path: str | Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read a stored frame as RGB, fast and as it lies in the file: depth and labels belong to those pixels.

    Raises FileNotFoundError if it is missing and ValueError if it cannot be decoded.
    """
    path = existing_file(path)
    frame = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if frame is None:
        raise ValueError(f"{path}: cannot be read as an image")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
