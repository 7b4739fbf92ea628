"""Change how clips look and nothing else: colour, blur, grain, traces of compression."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from retracker.media.image import as_video
from retracker.types import VideoSample

GREY = np.array([0.299, 0.587, 0.114])  # luma of R, G, B (ITU-R BT.601)
# RGB -> luma and two axes of colour (NTSC's YIQ), in whose plane a turn is a change of hue.
YIQ = np.array([GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
SHIFT = 32  # px: the grain of one frame is that of another, moved by up to this


class Colour:
    """Repaint clips: ``brightness``, ``contrast`` and ``saturation`` within 1 +- range, ``hue`` within +-
    degrees, ``gamma`` between 1 / (1 + range) and 1 + range, no colour at all with a chance of ``grey``.

    In the course of a clip each of the five changes by up to the share ``drift`` of its range. With a chance
    of ``independent`` each frame is painted on its own instead.
    """

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        brightness: float | int,
        contrast: float | int,
        saturation: float | int,
        hue: float | int,
        gamma: float | int,
        grey: float | int,
        drift: float | int,
        independent: float | int,
    ) -> None:
        self.ranges = np.array([brightness, contrast, saturation, np.deg2rad(hue), np.log1p(gamma)])
        self.grey, self.drift, self.independent = grey, drift, independent

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        amounts = self._amounts(len(sample.video), rng)  # T 5
        colourless = rng.random() < self.grey
        mean = float(sample.video.float().mean())
        frames = []
        for planes, (brightness, contrast, saturation, hue, gamma) in zip(
            sample.video.numpy(), amounts, strict=True
        ):
            matrix = colour_matrix(0.0 if colourless else 1 + saturation, hue)
            gain = (1 + brightness) * (1 + contrast)
            offset = -contrast * (1 + brightness) * mean  # contrast keeps the clip's mean
            frame = cv2.transform(cv2.merge(list(planes)), np.c_[gain * matrix, matrix.sum(1) * offset])
            frames.append(frame if gamma == 0 else cv2.LUT(frame, gamma_table(np.exp(gamma))))
        return replace(sample, video=as_video(frames))

    def _amounts(self, num_frames: int, rng: np.random.Generator) -> Float[np.ndarray, "T 5"]:
        one, change = rng.uniform(-1, 1, 5), rng.uniform(-1, 1, 5) * self.drift
        course = one + (np.arange(num_frames) / max(num_frames - 1, 1) - 0.5)[:, None] * change
        apart = rng.uniform(-1, 1, (num_frames, 5))
        return (apart if rng.random() < self.independent else course.clip(-1, 1)) * self.ranges


class Blur:
    """Blur, with a chance of ``share``, by Gaussians whose sigma (px) goes from one draw out of ``sigma``
    (lowest, highest) in the first frame to another in the last."""

    def __init__(self, share: float | int, sigma: Sequence[float | int]) -> None:
        self.share, self.sigma = share, checked_range("sigma", sigma, 0)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share:
            return sample
        frames = sample.video.numpy()
        blurred = np.empty_like(frames)
        for sigma, planes, targets in zip(
            np.linspace(*rng.uniform(*self.sigma, 2), len(frames)), frames, blurred, strict=True
        ):
            for plane, target in zip(planes, targets, strict=True):
                cv2.GaussianBlur(plane, (0, 0), max(sigma, 0.01), dst=target, borderType=cv2.BORDER_REPLICATE)
        return replace(sample, video=torch.from_numpy(blurred))


class Grain:
    """Add, with a chance of ``share``, noise of a standard deviation out of ``sigma`` (grey levels)."""

    def __init__(self, share: float | int, sigma: Sequence[float | int]) -> None:
        self.share, self.sigma = share, checked_range("sigma", sigma, 0)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share:
            return sample
        frames = sample.video.numpy()
        _, _, height, width = frames.shape
        grain = rng.standard_normal((3, height + SHIFT, width + SHIFT), dtype=np.float32)
        grain = np.rint(grain * rng.uniform(*self.sigma)).astype(np.int16)
        grainy = np.empty_like(frames)
        for planes, targets, (top, left) in zip(
            frames, grainy, rng.integers(0, SHIFT, (len(frames), 2)), strict=True
        ):
            noise = grain[:, top : top + height, left : left + width]
            np.clip(planes + noise, 0, 255, out=targets, casting="unsafe")
        return replace(sample, video=torch.from_numpy(grainy))


class Compress:
    """Leave, with a chance of ``share``, the traces of JPEG at a quality out of ``quality`` (1 to 100)."""

    def __init__(self, share: float | int, quality: Sequence[int]) -> None:
        self.share, self.quality = share, checked_range("quality", quality, 1, 100)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share:
            return sample
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        frames = [as_jpeg(cv2.merge(list(planes)), quality) for planes in sample.video.numpy()]
        return replace(sample, video=as_video(frames))


class Shrink:
    """Show, with a chance of ``share``, what a smaller film would: frames reduced to a share out of ``scale``
    of their size, compressed as JPEG at a quality out of ``quality`` (1 to 100), and enlarged again."""

    def __init__(self, share: float | int, scale: Sequence[float | int], quality: Sequence[int]) -> None:
        self.share, self.quality = share, checked_range("quality", quality, 1, 100)
        self.scale = checked_range("scale", scale, 0.01, 1)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share:
            return sample
        height, width = sample.video.shape[-2:]
        scale, quality = rng.uniform(*self.scale), int(rng.integers(self.quality[0], self.quality[1] + 1))
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        frames = []
        for planes in sample.video.numpy():
            frame = cv2.resize(cv2.merge(list(planes)), small, interpolation=cv2.INTER_AREA)
            frames.append(
                cv2.resize(as_jpeg(frame, quality), (width, height), interpolation=cv2.INTER_LINEAR)
            )
        return replace(sample, video=as_video(frames))


def as_jpeg(frame: UInt8[np.ndarray, "H W 3"], quality: int) -> UInt8[np.ndarray, "H W 3"]:
    """An RGB frame with what JPEG leaves of it."""
    _, code = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])  # B, G, R
    return cv2.imdecode(code, cv2.IMREAD_COLOR)[..., ::-1]


def colour_matrix(saturation: float, hue: float) -> Float[np.ndarray, "3 3"]:
    """Turn hue by radians, then scale the distance from grey; luma stays as it is."""
    cos, sin = np.cos(hue), np.sin(hue)
    turned = np.linalg.inv(YIQ) @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ YIQ
    return saturation * turned + (1 - saturation) * GREY


def gamma_table(gamma: float) -> UInt8[np.ndarray, "256"]:
    """What each grey level becomes: its power ``gamma`` on a scale from 0 to 1."""
    return np.rint(255 * np.linspace(0, 1, 256) ** gamma).astype(np.uint8)


def checked_range(
    name: str, limits: Sequence[float | int], least: float | int, most: float | int = inf
) -> tuple[float | int, float | int]:
    """(lowest, highest). Raises ValueError if it is not that."""
    if len(limits) != 2 or not least <= limits[0] <= limits[1] <= most:
        within = f"at least {least}" + (f" and at most {most}" if most < inf else "")
        raise ValueError(f"{name} must be the lowest and the highest value, {within}, got {list(limits)}")
    return limits[0], limits[1]
