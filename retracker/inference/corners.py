"""Where in an image a point can be told from its neighbours: the places to match when precision counts."""

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

HALF = 0.5  # OpenCV calls the centre of the upper-left pixel (0, 0); we call it (0.5, 0.5)
WEAKEST = 1e-4  # of the strongest corner's response: weaker ones are noise
APART = 0.009  # of the image's side (the root of its area): no two corners are closer than this


def corner_points(image: UInt8[Tensor, "3 H W"], count: int) -> Float[Tensor, "N 2"]:
    """Up to ``count`` corners (Shi & Tomasi, CVPR 1994), the strongest first, in raster px."""
    if count < 1:
        raise ValueError(f"corners: expected a positive number, got {count}")
    grey = cv2.cvtColor(np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()), cv2.COLOR_RGB2GRAY)
    apart = max(1.0, APART * (grey.shape[0] * grey.shape[1]) ** 0.5)
    found = cv2.goodFeaturesToTrack(grey, count, WEAKEST, apart)
    if found is None:
        return torch.zeros(0, 2)
    return torch.from_numpy(found[:, 0].astype(np.float32)) + HALF
