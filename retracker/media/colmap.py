"""Sparse models of COLMAP on disk, text or binary: undistorted cameras, their poses, and what they see."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64

from retracker.media.files import existing_file

PINHOLES = {"SIMPLE_PINHOLE": 0, "PINHOLE": 1}  # COLMAP's numbers of the models without distortion
POINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("id", "<i8")])
NO_POINT = -1


@dataclass(frozen=True, kw_only=True)
class ColmapView:
    """One registered image."""

    name: str  # below the folder of images
    intrinsics: Float64[
        np.ndarray, "3 3"
    ]  # COLMAP counts from the corner, too: the first centre is (0.5, 0.5)
    pose: Float64[np.ndarray, "4 4"]  # world -> camera
    xy: Float64[np.ndarray, "P 2"]  # where its points are seen, px
    points: Int64[np.ndarray, " P"]  # which 3-D points these are


def read_colmap(folder: str | Path) -> list[ColmapView]:
    """The views of the model in ``folder``, in the order of its files: cameras.bin and images.bin, or .txt.

    Raises FileNotFoundError if there is no model, ValueError if it is broken or its images are distorted.
    """
    suffix, read_cameras, read_images = (
        ("bin", _cameras_bin, _images_bin)
        if (Path(folder) / "images.bin").exists()
        else ("txt", _cameras_txt, _images_txt)
    )
    paths = [existing_file(Path(folder) / f"{name}.{suffix}") for name in ("cameras", "images")]
    path = paths[0]
    try:
        cameras = dict(read_cameras(paths[0]))
        path = paths[1]
        return [
            ColmapView(
                name=name,
                intrinsics=cameras[camera],
                pose=_pose(motion),
                xy=np.stack([points["x"], points["y"]], -1),
                points=points["id"].astype(np.int64),
            )
            for name, camera, motion, points in read_images(paths[1])
        ]
    except KeyError as error:
        raise ValueError(f"{path}: asks for camera {error}, which {paths[0].name} does not have") from error
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{path}: cannot be read as COLMAP's {path.name} ({error})") from error


def _intrinsics(model: str | int, numbers: np.ndarray) -> Float64[np.ndarray, "3 3"]:
    if model not in PINHOLES and model not in PINHOLES.values():
        raise ValueError(
            f"camera model {model}, expected {' or '.join(PINHOLES)}: undistort the images first"
        )
    *focal, x, y = numbers.tolist()
    return np.array([[focal[0], 0, x], [0, focal[-1], y], [0, 0, 1]], np.float64)


def _pose(motion: np.ndarray) -> Float64[np.ndarray, "4 4"]:
    """From a quaternion (w, x, y, z) and a translation."""
    w, x, y, z = motion[:4] / np.linalg.norm(motion[:4])
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = motion[4:]
    return pose


def _lines(path: Path) -> Iterator[str]:
    return (line for line in path.read_text().splitlines() if not line.startswith("#"))


def _cameras_txt(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    for line in _lines(path):
        if line.strip():
            camera, model, _, _, *numbers = line.split()
            yield int(camera), _intrinsics(model, np.array(numbers, np.float64))


def _images_txt(path: Path) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    """Each image takes two lines, of which the second, its points, may be empty."""
    lines = iter(_lines(path))
    for line in lines:
        if line.strip():
            _, *motion, camera, name = line.split(maxsplit=9)
            values = np.array(next(lines, "").split(), np.float64).reshape(-1, 3)
            points = np.empty(len(values), POINT)
            points["x"], points["y"], points["id"] = values.T
            yield name, int(camera), np.array(motion, np.float64), points[points["id"] != NO_POINT]


def _cameras_bin(path: Path) -> Iterator[tuple[int, np.ndarray]]:
    content, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        camera, model, _, _ = struct.unpack_from("<IiQQ", content, at)
        count = 3 + (model == PINHOLES["PINHOLE"])
        numbers = np.frombuffer(content, "<f8", count, at + 24)
        yield camera, _intrinsics(model, numbers)
        at += 24 + 8 * count


def _images_bin(path: Path) -> Iterator[tuple[str, int, np.ndarray, np.ndarray]]:
    content, at = path.read_bytes(), 8
    for _ in range(struct.unpack_from("<Q", content)[0]):
        _, *motion, camera = struct.unpack_from("<I7dI", content, at)
        end = content.index(b"\0", at + 64)
        name = content[at + 64 : end].decode()
        (count,) = struct.unpack_from("<Q", content, end + 1)
        points = np.frombuffer(content, POINT, count, end + 9)
        at = end + 9 + count * POINT.itemsize
        yield name, camera, np.array(motion), points[points["id"] != NO_POINT]
