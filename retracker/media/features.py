"""Keypoints and descriptors in .npz files: ours, and those that others' detectors are dumped into."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.media.files import BROKEN_ARCHIVE, existing_file, replacing
from retracker.types import LocalFeatures

CENTRE = 0.5  # what we call the centre of the upper-left pixel; detectors that report indices call it 0
OUTSIDE = 1.0  # px: how far a keypoint may lie outside its image
BROKEN = (*BROKEN_ARCHIVE, KeyError, OSError, ValueError)  # what numpy raises


def read_features(path: str | Path, size: tuple[int, int], pixel_centre: float | int) -> LocalFeatures:
    """The features of an image of ``size`` (height, width), the strongest first; see ``parse_features``.

    Raises FileNotFoundError if there is no such file, ValueError if it is broken or holds something else.
    """
    path = existing_file(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (*BROKEN, TypeError) as error:  # TypeError: a single array, which cannot be closed
        raise ValueError(f"{path}: expected an .npz file of features, cannot be read as one") from error
    return parse_features(arrays, str(path), size, pixel_centre)


def parse_features(
    arrays: Mapping[str, np.ndarray], where: str, size: tuple[int, int], pixel_centre: float | int
) -> LocalFeatures:
    """Features of N keypoints from arrays as detectors leave them; ``where`` names them in messages.

    ``keypoints`` (N,2) are x and y; further columns, or ``geometry`` (N,G), or ``scores`` (N) are what the
    detector says beyond that. ``descriptors`` (N,D) or (D,N) are numbers, brought to unit length, or bytes
    of bits. ``pixel_centre`` is what the detector calls the centre of the upper-left pixel: 0 or 0.5; an
    entry of this name overrules it. Raises ValueError for anything else, and for what is not finite.
    """
    missing = [name for name in ("keypoints", "descriptors") if name not in arrays]
    if missing:
        there = ", ".join(sorted(arrays)) or "nothing"
        raise ValueError(f"{where}: expected keypoints and descriptors, {missing[0]} is missing from {there}")
    keypoints = _numbers(arrays, "keypoints", where)
    if keypoints.ndim != 2 or keypoints.shape[1] not in (2, 3, 4):
        raise ValueError(f"{where}: expected keypoints (N,2), (N,3) or (N,4), got {keypoints.shape}")
    geometry, strength = _geometry(arrays, keypoints, where)
    order = np.argsort(-strength, kind="stable")
    xy = keypoints[:, :2] + np.float32(CENTRE - _pixel_centre(arrays, pixel_centre, where))
    _check_inside(xy, arrays, where, size)
    return LocalFeatures(
        xy=torch.from_numpy(xy[order]),
        geometry=torch.from_numpy(geometry[order]),
        descriptors=_descriptors(arrays, len(keypoints), where)[torch.from_numpy(order)],
        present=torch.ones(len(keypoints), dtype=torch.bool),
        size=torch.tensor(size),
    )


def write_features(path: Path, features: LocalFeatures, *, binary: bool, image: str, detector: str) -> None:
    """Write the features of one image, as ``read_features`` reads them: keypoints (N,2) raster px, geometry
    (N,G), descriptors (N,D), of which ``binary`` keeps the signs as bits (N,D/8), size (height, width).
    """
    descriptors = pack_bits(features.descriptors) if binary else features.descriptors.float()
    with replacing(path) as partial:
        np.savez_compressed(
            partial,
            keypoints=features.xy.cpu().numpy(),
            geometry=features.geometry.cpu().numpy(),
            descriptors=descriptors.cpu().numpy(),
            binary=np.array(binary),
            pixel_centre=np.array(CENTRE),
            size=features.size.cpu().numpy(),
            image=np.array(image),
            detector=np.array(detector),
        )


def pack_bits(descriptors: Float[Tensor, "*B D"]) -> UInt8[Tensor, "*B bytes"]:
    """The signs of numbers as bits, eight to a byte, the first in the lowest place; 0 and more is a 1."""
    packed = np.packbits((descriptors >= 0).cpu().numpy(), axis=-1, bitorder="little")
    return torch.from_numpy(packed)


def unpack_bits(packed: UInt8[Tensor, "*B bytes"]) -> Float[Tensor, "*B D"]:
    """Bits as -1 and +1, the inverse of ``pack_bits``."""
    bits = np.unpackbits(packed.cpu().numpy(), axis=-1, bitorder="little")
    return torch.from_numpy(bits).float() * 2 - 1


def _numbers(arrays: Mapping[str, np.ndarray], name: str, where: str) -> np.ndarray:
    values = arrays[name]
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{where}: expected numbers in {name}, got {values.dtype}")
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        broken = int((~np.isfinite(values)).sum())
        raise ValueError(f"{where}: expected finite {name}, {broken} of {values.size} numbers are not")
    return values


def _pixel_centre(arrays: Mapping[str, np.ndarray], told: float | int, where: str) -> float:
    came = arrays.get("pixel_centre", np.array(told))
    if came.shape != () or came.dtype.kind not in "fiu" or float(came) not in (0.0, CENTRE):
        raise ValueError(f"{where}: expected 0 or {CENTRE} for pixel_centre, got {came}")
    return float(came)


def _geometry(
    arrays: Mapping[str, np.ndarray], keypoints: np.ndarray, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """What is known of keypoints besides where they are (N,G), and how strong they are (N)."""
    num = len(keypoints)
    scores = _numbers(arrays, "scores", where).reshape(-1) if "scores" in arrays else None
    geometry = _numbers(arrays, "geometry", where) if "geometry" in arrays else keypoints[:, 2:]
    if geometry.shape == (num, 0) and scores is not None:
        geometry = scores[:, None]
    counts = {len(geometry), num if scores is None else len(scores)}
    if geometry.ndim != 2 or counts != {num}:
        raise ValueError(f"{where}: expected geometry and scores of {num} keypoints, got another number")
    if scores is None:
        scores = geometry[:, 0] if geometry.shape[1] == 1 else np.zeros(num, np.float32)
    return geometry, scores


def _descriptors(arrays: Mapping[str, np.ndarray], num: int, where: str) -> Tensor:
    """Descriptors (N,D) of unit length, or of -1 and +1."""
    values = arrays["descriptors"]
    if values.ndim != 2 or num not in values.shape:
        raise ValueError(
            f"{where}: expected descriptors (N,D) or (D,N) of {num} keypoints, got {values.shape}"
        )
    if values.dtype == np.uint8 and bool(np.all(arrays.get("binary", True))):
        return unpack_bits(torch.from_numpy(values if len(values) == num else values.T.copy()))
    numbers = torch.from_numpy(_numbers(arrays, "descriptors", where))
    return F.normalize(numbers.T if _lies(numbers, num) else numbers, dim=-1)


def _lies(descriptors: Float[Tensor, "rows columns"], num: int) -> bool:
    """Whether the descriptors of N keypoints are the columns: (D,N), as SuperPoint's are."""
    rows, columns = descriptors.shape
    if rows != columns:
        return rows != num
    spread = [
        (descriptors.norm(dim=dim) - 1).abs().sum() for dim in (0, 1)
    ]  # N == D: which are unit vectors?
    return bool(spread[0] < spread[1])


def _check_inside(
    xy: np.ndarray, arrays: Mapping[str, np.ndarray], where: str, size: tuple[int, int]
) -> None:
    if "size" in arrays and tuple(arrays["size"].reshape(-1).tolist()) != tuple(size):
        came = "x".join(map(str, arrays["size"].reshape(-1).tolist()))
        raise ValueError(f"{where}: expected features of an image of {size[0]}x{size[1]} px, got {came}")
    beyond = ((xy < -OUTSIDE) | (xy > np.array([size[1], size[0]]) + OUTSIDE)).any(axis=1)
    if beyond.any():
        raise ValueError(
            f"{where}: {int(beyond.sum())} of {len(xy)} keypoints lie outside the image of "
            f"{size[0]}x{size[1]} px (height x width)"
        )
