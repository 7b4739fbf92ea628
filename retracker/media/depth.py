"""Depth maps on disk -> arrays along the optical axis, 0 where unknown."""

from pathlib import Path

import cv2
import h5py
import numpy as np
from jaxtyping import Float32

from retracker.media.files import existing_file
from retracker.media.image import is_whole

MILLIMETRE = 1e-3  # the usual unit of depth in 16-bit images, in metres


def read_depth_png(path: str | Path, unit: float) -> Float32[np.ndarray, "H W"]:
    """Depth stored as a 16-bit grey image (0: unknown) that counts in ``unit``.

    Raises FileNotFoundError if it is missing, ValueError if it cannot be decoded or is another kind of image.
    """
    path = existing_file(path)
    content = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if is_whole(content.tobytes()) else None
    except cv2.error as error:  # a header that asks for an absurd size
        raise ValueError(f"{path}: cannot be read as an image") from error
    if image is None:
        raise ValueError(f"{path}: cannot be read as an image, or ends too early")
    if image.dtype != np.uint16 or image.ndim != 2:
        raise ValueError(f"{path}: expected depth as 16-bit grey, got {image.dtype} {image.shape}")
    return image.astype(np.float32) * np.float32(unit)


def read_depth_h5(path: str | Path, key: str) -> Float32[np.ndarray, "H W"]:
    """Depth stored as a float array in an HDF5 file.

    What is not finite is unknown. MegaDepth keeps masks that order regions by depth (negative or whole
    numbers) in files of the same name and key: they tell no distance, and all of them is unknown.
    Raises FileNotFoundError if the file is missing, ValueError if it is broken or holds no such array.
    """
    path = existing_file(path)
    try:
        with h5py.File(path, "r") as file:
            found = file.get(key)
            values = found[()] if isinstance(found, h5py.Dataset) else None
            there = ", ".join(sorted(file)) or "nothing"
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: cannot be read as HDF5 ({str(error).splitlines()[0]})") from error
    if values is None:
        raise ValueError(f"{path}: has no array {key!r}, only {there}")
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected depth of height and width, got {values.dtype} {values.shape}")
    depth = values.astype(np.float32)
    depth[~np.isfinite(depth)] = 0
    return np.zeros_like(depth) if _is_mask(depth) else depth


def _is_mask(depth: Float32[np.ndarray, "H W"]) -> bool:
    return bool(depth.min() < 0) or (_are_whole(depth[::16, ::16]) and _are_whole(depth))


def _are_whole(numbers: Float32[np.ndarray, "H W"]) -> bool:
    return bool((numbers == np.rint(numbers)).all())
