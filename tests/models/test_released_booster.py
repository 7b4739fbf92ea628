"""The released SIFT+Boost-F: loaded strictly, and better than SIFT on photographs."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F

from retracker.checkpoint import load_booster
from retracker.data.local_features import Sift
from retracker.models.descriptor import boost

ROOT = Path(__file__).parents[2]
RELEASED = ROOT.parent / "shared" / "assets" / "SIFT+Boost-F.pth"


def released():
    if not RELEASED.exists():
        pytest.skip("no ../shared/assets/SIFT+Boost-F.pth beside this checkout")
    return load_booster(RELEASED)


def test_released_weights_load_strictly_and_give_unit_vectors():
    out = boost(released(), Sift(50)(photograph("astronaut")))
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(50))
    assert out.min() < 0  # no ReLU at the end


def test_released_weights_strengthen_sift_on_photographs():
    net, raw, boosted = released(), [], []
    for index, name in enumerate(("astronaut", "coffee", "chelsea")):
        picture = photograph(name)
        rng = np.random.default_rng(index)
        homography, other = seen_from_elsewhere(picture, rng)
        found = [Sift(600)(image) for image in (picture, other)]
        with torch.inference_mode():
            better = [replace(one, descriptors=boost(net, one)) for one in found]
        raw.append(right_matches(*found, homography))
        boosted.append(right_matches(*better, homography))
    (right, matches), (right_boosted, matches_boosted) = np.sum(raw, 0), np.sum(boosted, 0)
    assert right > 200
    assert right_boosted > 1.05 * right
    assert right_boosted / matches_boosted > right / matches


def photograph(name):
    picture = getattr(skimage.data, name)()
    scale = 400 / max(picture.shape)
    picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def seen_from_elsewhere(picture, rng):
    """A homography of raster px, and the picture through it: in perspective, in other light, with noise."""
    _, height, width = picture.shape
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    moved = corners + rng.uniform(-0.2, 0.2, (4, 2)) * [width, height]
    homography = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # OpenCV warps indices of pixels
    warped = cv2.warpPerspective(
        picture.permute(1, 2, 0).numpy(), np.linalg.inv(half) @ homography @ half, (width, height)
    )
    warped = warped * rng.uniform(0.6, 1.2) + rng.normal(0, 15, warped.shape)
    other = torch.from_numpy(warped.clip(0, 255).astype(np.uint8)).permute(2, 0, 1).contiguous()
    return torch.from_numpy(homography).float(), other


def right_matches(features0, features1, homography):
    """How many mutual nearest neighbours are right to 3 px, and how many there are."""
    likeness = features0.descriptors @ features1.descriptors.T
    forth, back = likeness.argmax(1), likeness.argmax(0)
    mutual = back[forth] == torch.arange(len(forth))
    points = F.pad(features0.xy[mutual], (0, 1), value=1.0) @ homography.T
    error = (points[:, :2] / points[:, 2:] - features1.xy[forth[mutual]]).norm(dim=1)
    return int((error <= 3).sum()), len(error)
