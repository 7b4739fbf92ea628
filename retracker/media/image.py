"""Still images on disk <-> RGB tensors."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps
from torch import Tensor

from retracker.media.files import existing_file, replacing

PNG_END = b"IEND\xaeB`\x82"
ALONE = {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}  # of a JPEG's markers: no length and no content follows
START_OF_SCAN = 0xDA
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
    check_image_name(path)
    with replacing(path) as partial:
        Image.fromarray(image.permute(1, 2, 0).cpu().numpy()).save(partial)


def check_image_name(path: str | Path) -> None:
    """Raise ValueError if an image cannot be written under that name: what is there to draw may take long."""
    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: expected the suffix of an image format, such as .png, got {path.suffix!r}")


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
    return decode_frame(path.read_bytes(), str(path))


def decode_frame(content: bytes | memoryview, where: str) -> UInt8[np.ndarray, "H W 3"]:
    """Decode a stored frame that is already in memory; ``where`` names it in messages.

    Raises ValueError if it cannot be decoded.
    """
    content = bytes(content)
    how = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        frame = cv2.imdecode(np.frombuffer(content, np.uint8), how) if is_whole(content) else None
    except cv2.error as error:  # a header that asks for an absurd size
        raise ValueError(f"{where}: cannot be read as an image") from error
    if frame is None:
        raise ValueError(f"{where}: cannot be read as an image, or ends too early")
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def is_whole(content: bytes) -> bool:
    """Whether a PNG or JPEG has its end; what follows it does not matter.

    imread, and imdecode before OpenCV 4.12, make of a JPEG that ends early a picture that is grey from there
    on; and libpng writes to the terminal what it thinks of such a file.
    """
    if content.startswith(b"\x89PNG"):
        return PNG_END in content
    if content.startswith(b"\xff\xd8"):
        return _jpeg_ends(content)
    return len(content) > 0


def _jpeg_ends(content: bytes) -> bool:
    """Whether the picture itself has its end: a thumbnail before it has one of its own, a film behind it
    (phones write those) bytes of any kind."""
    position = 2
    while 0 <= (position := content.find(b"\xff", position)) <= len(content) - 4:
        marker = content[position + 1]
        if marker in ALONE:
            position += 1
            continue
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker == START_OF_SCAN:
            return content.find(b"\xff\xd9", position) >= 0  # pixels cannot contain it
    return False


def as_video(frames: Sequence[np.ndarray]) -> UInt8[Tensor, "T 3 H W"]:
    """A video of frames (H,W,3) of one size."""
    video = np.empty((len(frames), 3, *frames[0].shape[:2]), np.uint8)
    for frame, channels in zip(frames, video, strict=True):
        cv2.split(frame, list(channels))  # a third of the time of numpy's copy
    return torch.from_numpy(video)


def resize_lanczos(
    image: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """An image at another (height, width), by the filter that benchmarks prescribe: PIL's Lanczos, on bytes.

    One that has that size already is returned as it is.
    """
    if image.shape[:2] == size:
        return image
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def image_size(path: str | Path) -> tuple[int, int]:
    """Height and width of an image as it lies in the file, from its header alone.

    Raises FileNotFoundError if it is missing and ValueError if it is no image.
    """
    path = existing_file(path)
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as an image") from error
