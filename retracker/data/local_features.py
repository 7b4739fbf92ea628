"""Keypoints and descriptors of an image by OpenCV, and binary descriptors as bytes."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.media.features import pack_bits as pack_bits
from retracker.media.features import unpack_bits as unpack_bits
from retracker.types import LocalFeatures

Extractor = Callable[[UInt8[Tensor, "3 H W"]], LocalFeatures]
HALF = 0.5  # OpenCV calls the centre of the upper-left pixel (0, 0); we call it (0.5, 0.5)
SIFT_SIZE = 2  # OpenCV's size is a diameter, released boosters were trained with COLMAP's scale
ORB_SIZE = 31  # px: a side of ORB's patch in the level of the pyramid where it was found
ORB_SHRINK = 1.2  # from one level of the pyramid to the next, as in ORB-SLAM2
ORB_LEVELS = 8
ORB_CONTRAST = 7  # FAST's threshold, grey levels: the lower of ORB-SLAM2's two; the strongest are kept anyway


class Sift:
    """OpenCV's SIFT: descriptors of unit length (not RootSIFT), geometry (scale, angle in rad)."""

    name = "sift"
    binary = False

    def __init__(self, max_keypoints: int) -> None:
        self.max_keypoints = _positive(max_keypoints)

    def __call__(self, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures:
        """The strongest keypoints of an RGB image; none where it shows nothing."""
        # Without the precise upscaling, OpenCV's keypoints lie a quarter of a pixel too far right and down.
        detector = cv2.SIFT_create(nfeatures=self.max_keypoints, enable_precise_upscale=True)
        keypoints, descriptors = _detect(detector, image, self.max_keypoints)
        size, angle = _sizes_and_angles(keypoints)
        return _features(
            image,
            xy=_positions(keypoints) + HALF,
            geometry=torch.stack([size / SIFT_SIZE, angle], dim=-1),
            descriptors=F.normalize(torch.from_numpy(descriptors.reshape(-1, 128)).float(), dim=-1),
        )


class Orb:
    """OpenCV's ORB: descriptors of -1 and +1, geometry (size in patches, angle in rad)."""

    name = "orb"
    binary = True

    def __init__(self, max_keypoints: int) -> None:
        self.max_keypoints = _positive(max_keypoints)

    def __call__(self, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures:
        """The strongest keypoints of an RGB image; none near its border (31 px) or where it shows nothing."""
        detector = cv2.ORB_create(
            nfeatures=self.max_keypoints,
            scaleFactor=ORB_SHRINK,
            nlevels=ORB_LEVELS,
            fastThreshold=ORB_CONTRAST,
        )
        room = min(image.shape[-2:]) > 2 * ORB_SIZE  # OpenCV cannot make the pyramid of a few pixels
        keypoints, descriptors = _detect(detector, image, self.max_keypoints) if room else ([], np.zeros(0))
        size, angle = _sizes_and_angles(keypoints)
        return _features(
            image,
            xy=_orb_positions(keypoints, image),
            geometry=torch.stack([size / ORB_SIZE, angle], dim=-1),
            descriptors=unpack_bits(torch.from_numpy(descriptors.reshape(-1, 32).astype(np.uint8))),
        )


def _detect(
    detector: cv2.Feature2D, image: UInt8[Tensor, "3 H W"], max_keypoints: int
) -> tuple[list[cv2.KeyPoint], np.ndarray]:
    """Keypoints, the strongest first, and their descriptors."""
    grey = cv2.cvtColor(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()), cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = detector.detectAndCompute(grey, None)
    if not keypoints:
        return [], np.zeros(0)
    strength = np.array([keypoint.response for keypoint in keypoints])
    order = np.argsort(-strength, kind="stable")[:max_keypoints]  # OpenCV keeps more where some are equal
    return [keypoints[index] for index in order], descriptors[order]


def _positions(keypoints: list[cv2.KeyPoint]) -> Float[Tensor, "K 2"]:
    return torch.tensor([keypoint.pt for keypoint in keypoints], dtype=torch.float32).reshape(-1, 2)


def _orb_positions(keypoints: list[cv2.KeyPoint], image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "K 2"]:
    """Where ORB's keypoints are (raster px): OpenCV errs by up to a pixel and more on the smaller levels.

    It multiplies the index of a pixel there by the nominal scale, but a level has whole pixels.
    """
    octaves = torch.tensor([keypoint.octave for keypoint in keypoints], dtype=torch.float64)
    scale = ORB_SHRINK ** octaves[:, None]  # K 1
    full = torch.tensor([image.shape[-1], image.shape[-2]], dtype=torch.float64)
    index = (_positions(keypoints) / scale).round()
    return ((index + HALF) * full / (full / scale).round()).float()


def _sizes_and_angles(keypoints: list[cv2.KeyPoint]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    both = torch.tensor([(k.size, k.angle) for k in keypoints], dtype=torch.float32).reshape(-1, 2)
    return both[:, 0], both[:, 1].deg2rad()


def _features(
    image: UInt8[Tensor, "3 H W"],
    xy: Float[Tensor, "K 2"],
    geometry: Float[Tensor, "K 2"],
    descriptors: Float[Tensor, "K D"],
) -> LocalFeatures:
    return LocalFeatures(
        xy=xy,
        geometry=geometry,
        descriptors=descriptors,
        present=torch.ones(len(xy), dtype=torch.bool),
        size=torch.tensor(image.shape[-2:]),
    )


def _positive(max_keypoints: int) -> int:
    if max_keypoints < 1:
        raise ValueError(f"max_keypoints must be at least 1, got {max_keypoints}")
    return max_keypoints
