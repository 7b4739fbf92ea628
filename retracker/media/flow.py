"""Optical flow, disparity and object indices on disk: .pfm and Middlebury's .flo."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from retracker.media.files import existing_file, replacing

PFM_HEADER = re.compile(rb"(PF|Pf)\s+(\d+)\s+(\d+)\s+([-+]?[0-9.]+(?:[eE][-+]?\d+)?)(?:\r\n|\s)")
PFM_HEADER_SIZE = 256  # bytes: more than any header has
FLO_MAGIC = b"PIEH"  # the float 202021.25, little-endian
FLO_HEADER_SIZE = 12


def read_pfm(path: str | Path) -> Float32[np.ndarray, "H W *C"]:
    """Read a grey (H W) or colour (H W 3) float image; row 0 of the result is the top one.

    It is a view of what was read, whose rows lie from bottom to top: copy it for torch. The file's byte order
    is what the sign of its scale tells; the scale's magnitude is a unit that no public set uses, so it is
    left out. Raises FileNotFoundError, or ValueError if this is no such file or it holds fewer or more pixels
    than it says.
    """
    content = existing_file(path).read_bytes()
    header = PFM_HEADER.match(content[:PFM_HEADER_SIZE])
    if header is None:
        raise ValueError(f"{path}: is no .pfm image (it must start with PF or Pf, width, height and scale)")
    kind, width, height, scale = header.groups()
    shape = (int(height), int(width), 3) if kind == b"PF" else (int(height), int(width))
    pixels = _floats(path, content, header.end(), shape, "<f4" if float(scale) < 0 else ">f4")
    return pixels[::-1]


def write_pfm(path: str | Path, image: Float32[np.ndarray, "H W *C"], *, big_endian: bool = False) -> None:
    """Write a grey (H W) or colour (H W 3) float image."""
    if image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise ValueError(f"{path}: expected an image of H W or H W 3, got {image.shape}")
    height, width = image.shape[:2]
    kind, scale = "PF" if image.ndim == 3 else "Pf", 1.0 if big_endian else -1.0
    with replacing(path) as partial:
        pixels = image[::-1].astype(">f4" if big_endian else "<f4").tobytes()
        partial.write_bytes(f"{kind}\n{width} {height}\n{scale}\n".encode() + pixels)


def read_flo(path: str | Path) -> Float32[np.ndarray, "H W 2"]:
    """Read a Middlebury flow file: how far each pixel moves to the right and down, px.

    Raises FileNotFoundError, or ValueError if this is no such file or it holds fewer or more pixels than it
    says.
    """
    content = existing_file(path).read_bytes()
    if content[:4] != FLO_MAGIC or len(content) < FLO_HEADER_SIZE:
        raise ValueError(f"{path}: is no .flo file (it must start with the bytes PIEH, width and height)")
    width, height = np.frombuffer(content, "<i4", 2, offset=4).tolist()
    return _floats(path, content, FLO_HEADER_SIZE, (height, width, 2), "<f4").copy()


def write_flo(path: str | Path, flow: Float32[np.ndarray, "H W 2"]) -> None:
    """Write a Middlebury flow file."""
    height, width = flow.shape[:2]
    with replacing(path) as partial:
        size = np.array([width, height], "<i4").tobytes()
        partial.write_bytes(FLO_MAGIC + size + flow.astype("<f4").tobytes())


def _floats(
    path: str | Path, content: bytes, start: int, shape: tuple[int, ...], kind: str
) -> Float32[np.ndarray, "..."]:
    """The rest of a file as an array, in the machine's own byte order."""
    expected = 4 * int(np.prod(shape, dtype=np.int64))
    if min(shape) < 1 or len(content) - start != expected:
        raise ValueError(
            f"{path}: its header says {shape[1]} x {shape[0]} px, which is {max(expected, 0)} bytes, "
            f"but {len(content) - start} follow"
        )
    return np.frombuffer(content, kind, offset=start).reshape(shape).astype(np.float32, copy=False)
