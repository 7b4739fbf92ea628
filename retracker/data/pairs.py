"""What a data set of posed pairs of views with depth offers, and how a view is brought to one size."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from retracker.data.recordings import Unusable
from retracker.data.storage import Storage
from retracker.geometry.camera import relative_pose
from retracker.geometry.depth import resize_depth
from retracker.media.image import image_size, read_frame
from retracker.types import PairSample

DEPTH_EDGE = 0.03  # between stored pixels that differ by more than this share, nothing is interpolated


@dataclass(frozen=True, kw_only=True)
class View:
    """One posed view, at the size it is used in."""

    image: UInt8[np.ndarray, "H W 3"]  # RGB
    depth: Float32[np.ndarray, "H W"]  # along the optical axis, in the unit of the pose; 0 where unknown
    intrinsics: Float64[np.ndarray, "3 3"]  # to raster px of ``image``
    pose: Float64[np.ndarray, "4 4"]  # world -> camera


class Pairs(Dataset[PairSample], ABC):
    """A data set of posed pairs; ``self[i]`` is the i-th, each view's long side resized to ``size`` px.

    Cameras are float64, for poses of large scenes; depth is float32. Reading raises OSError or ValueError,
    naming the file, for one that is missing or broken, and Unusable where a camera was lost (its pose is
    not finite) or no depth is known.
    """

    def __init__(self, size: int) -> None:
        if not isinstance(size, int) or size < 2:
            raise ValueError(f"size: expected a whole number of px, at least 2, got {size}")
        self.size = size

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def scene(self, index: int) -> str:
        """The place that a pair shows: pairs are balanced by it, and those of two places have no match."""

    @abstractmethod
    def view(self, index: int, side: int) -> View:
        """View 0 or view 1 of a pair."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Enough to find the pair again."""

    def __getitem__(self, index: int) -> PairSample:
        if not 0 <= index < len(self):
            raise IndexError(f"pair {index} of a data set of {len(self)}")
        view0, view1 = self.view(index, 0), self.view(index, 1)
        if not (view0.depth.any() and view1.depth.any()):
            raise Unusable(f"{self.name(index)}: no depth is known")
        return _pair(view0, view1, self.size, self.name(index))

    def negative(self, index: int, other: int) -> PairSample:
        """View 0 of one pair beside view 1 of another, of another scene: nothing of it is there again.

        No pose lies between the two and depth1 is unknown everywhere; depth0 tells where points may lie.
        Raises ValueError if both pairs are of one scene.
        """
        if self.scene(index) == self.scene(other):
            raise ValueError(f"pairs {index} and {other} both show {self.scene(index)}")
        name = f"{self.name(index)}-not-{self.name(other)}"
        pair = _pair(self.view(index, 0), self.view(other, 1), self.size, name)
        nowhere = torch.eye(4, dtype=torch.float64)
        return replace(pair, depth1=torch.zeros_like(pair.depth1), pose_0to1=nowhere)


def _pair(view0: View, view1: View, size: int, name: str) -> PairSample:
    pose0, pose1 = (torch.tensor(view.pose) for view in (view0, view1))
    if not (pose0.isfinite().all() and pose1.isfinite().all()):
        raise Unusable(f"{name}: a pose is not finite")
    return PairSample(
        image0=_framed(view0.image, size).permute(2, 0, 1).contiguous(),
        image1=_framed(view1.image, size).permute(2, 0, 1).contiguous(),
        size0=torch.tensor(view0.depth.shape),
        size1=torch.tensor(view1.depth.shape),
        depth0=_framed(view0.depth, size),
        depth1=_framed(view1.depth, size),
        intrinsics0=torch.tensor(view0.intrinsics),
        intrinsics1=torch.tensor(view1.intrinsics),
        pose_0to1=relative_pose(pose0, pose1),
        name=name,
    )


def _framed(values: np.ndarray, size: int) -> Tensor:
    """The values in the upper-left corner of a square of zeros."""
    frame = np.zeros((size, size, *values.shape[2:]), values.dtype)
    frame[: values.shape[0], : values.shape[1]] = values
    return torch.from_numpy(frame)


def fitted(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width of an image whose long side is brought to ``size``."""
    scale = size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def read_size(storage: Storage, path: str) -> tuple[int, int]:
    """Height and width of an image as it is stored."""
    height, width = storage.array(path, _size, "size").tolist()
    return height, width


def read_image_to_fit(storage: Storage, path: str, size: int) -> UInt8[np.ndarray, "H W 3"]:
    """An image whose long side is brought to ``size``; both go to the cache at that size."""
    return storage.array(path, partial(_fitted_image, size=size), f"long side {size}")


def read_depth_to_fit(
    storage: Storage, path: str, decode: Callable[[Path], np.ndarray], height: int, width: int
) -> Float32[np.ndarray, "H W"]:
    """A depth map at the size of its resized image; ``decode`` gives it as it is stored."""
    resized = partial(_fitted_depth, decode=decode, height=height, width=width)
    return storage.array(path, resized, f"depth {height} x {width}")


def _size(path: Path) -> Int64[np.ndarray, "2"]:
    return np.array(image_size(path), np.int64)


def _fitted_image(path: Path, size: int) -> UInt8[np.ndarray, "H W 3"]:
    image = read_frame(path)
    height, width = fitted(*image.shape[:2], size)
    # Averaging where it shrinks: anything else aliases.
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=way)


def _fitted_depth(
    path: Path, decode: Callable[[Path], np.ndarray], height: int, width: int
) -> Float32[np.ndarray, "H W"]:
    return resize_depth(torch.from_numpy(decode(path)), height, width, DEPTH_EDGE).numpy()
