"""Bring clips of any size to one size: a random view that may drift, or the whole frame."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retracker.data.warp import warp
from retracker.geometry.homography import affine, turned
from retracker.types import VideoSample


class Crop:
    """A random view of each clip in frames of (height, width) ``size``.

    ``zoom`` (lowest, highest): at 1 the view is as large as fits into the frames, at 2 half as wide and
    high, below 1 it reaches beyond them, where all is black. One side is shortened by up to a factor ``1 +
    stretch``, and the view turned by up to ``rotation`` degrees. In the course of the clip it moves by up to
    ``pan`` of its own size and zooms by up to a factor ``1 + drift``. With a chance of ``independent``, the
    two frames of a pair get a view each.
    """

    def __init__(
        self,
        size: Sequence[int],
        zoom: Sequence[float | int],
        stretch: float | int,
        rotation: float | int,
        pan: float | int,
        drift: float | int,
        independent: float | int,
    ) -> None:
        self.size = checked_size(size)
        if len(zoom) != 2 or not 0 < zoom[0] <= zoom[1]:
            raise ValueError(
                f"zoom must be the lowest and the highest factor, both above 0, got {list(zoom)}"
            )
        self.zoom = np.log(np.array(zoom, dtype=float))
        self.stretch, self.rotation = np.log1p(stretch), np.deg2rad(rotation)
        self.pan, self.drift, self.independent = pan, np.log1p(drift), independent

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        num_frames, _, height, width = sample.video.shape
        frame = np.array([width, height])
        start = self._view(frame, rng)
        apart = rng.random() < self.independent and num_frames == 2
        end = self._view(frame, rng) if apart else self._drifted(start, frame, rng)
        views = start + np.linspace(0, 1, num_frames)[:, None] * (end - start)  # T 5
        return warp(sample, self._matrices(views, frame), self.size)

    def _view(self, frame: Int[np.ndarray, "2"], rng: np.random.Generator) -> Float[np.ndarray, "5"]:
        """Log of zoom, log of stretch, angle, and the centre in old pixels."""
        zoom = rng.uniform(*self.zoom)
        stretch, angle = rng.uniform(-1, 1, 2) * (self.stretch, self.rotation)
        room = np.abs(frame / 2 - self._half(zoom, stretch, frame))
        return np.array([zoom, stretch, angle, *frame / 2 + room * rng.uniform(-1, 1, 2)])

    def _drifted(
        self, view: Float[np.ndarray, "5"], frame: Int[np.ndarray, "2"], rng: np.random.Generator
    ) -> Float[np.ndarray, "5"]:
        """The view at the end of the clip. Where both ends keep within the frames, so does all between."""
        zoom = np.clip(view[0] + self.drift * rng.uniform(-1, 1), *self.zoom)
        half = self._half(zoom, view[1], frame)
        room = np.abs(frame / 2 - half)
        centre = view[3:] + 2 * half * self.pan * rng.uniform(-1, 1, 2)
        return np.array([zoom, *view[1:3], *np.clip(centre, frame / 2 - room, frame / 2 + room)])

    def _half(
        self, zoom: np.ndarray | float, stretch: np.ndarray | float, frame: Int[np.ndarray, "2"]
    ) -> Float[np.ndarray, "*T 2"]:
        """Half the width and height of a view, in old pixels."""
        size = np.array([self.size[1], self.size[0]])
        fitting = size * (frame / size).min()  # the largest view without stretch
        shorter = np.stack([np.maximum(stretch, 0), np.maximum(-stretch, 0)], axis=-1)
        return fitting / 2 * np.exp(-np.asarray(zoom)[..., None] - shorter)

    def _matrices(
        self, views: Float[np.ndarray, "T 5"], frame: Int[np.ndarray, "2"]
    ) -> Float[Tensor, "T 3 3"]:
        middle = np.array([self.size[1], self.size[0]]) / 2
        scale = torch.from_numpy(middle / self._half(views[:, 0], views[:, 1], frame))
        centre = torch.from_numpy(views[:, 3:])
        return affine(turned(torch.from_numpy(views[:, 2]), scale), centre, torch.from_numpy(middle))


class Resize:
    """The whole frame, squeezed or stretched to (height, width) ``size``."""

    def __init__(self, size: Sequence[int]) -> None:
        self.size = checked_size(size)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:  # noqa: ARG002
        num_frames, _, height, width = sample.video.shape
        scale = torch.tensor([self.size[1] / width, self.size[0] / height, 1.0], dtype=torch.float64)
        return warp(sample, torch.diag(scale).expand(num_frames, 3, 3), self.size)


def checked_size(size: Sequence[int]) -> tuple[int, int]:
    """(height, width). Raises ValueError unless it is two whole numbers of at least 1."""
    if len(size) != 2 or not all(isinstance(side, int) and side >= 1 for side in size):
        raise ValueError(f"size must be height and width in px, got {list(size)}")
    return size[0], size[1]
