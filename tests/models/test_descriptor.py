"""FeatureBooster: released shapes and weights, masks, and its place in the tracker."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.configuration import compose_config
from retracker.models.descriptor import (
    CrossBoosting,
    DescriptorEncoder,
    FeatureBooster,
    KeypointEncoder,
    build_booster,
    normalise_keypoints,
)
from retracker.types import FeatureLevel, FeaturePyramid

ROOT = Path(__file__).parents[2]
RELEASED = ROOT.parent / "shared" / "assets" / "SIFT+Boost-F.pth"
AS_RELEASED = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}
COUNTS = {
    "ORB+Boost-B": 2_612_832,
    "SIFT+Boost-F": 672_736,
    "SIFT+Boost-B": 689_248,
    "SuperPoint+Boost-F": 5_116_992,
    "SuperPoint+Boost-B": 5_116_992,
    "ALIKE+Boost-F": 1_335_104,
    "ALIKE+Boost-B": 1_351_616,
}


def booster(attention="aft", dropout=0.0, geometry=True, cross=True):
    torch.manual_seed(0)
    return FeatureBooster(
        channels=16,
        out_channels=8,
        kenc=KeypointEncoder(3, [8], 16, dropout) if geometry else None,
        denc=DescriptorEncoder(16, [16]),
        attn_proj=CrossBoosting(16, 2, attention, dropout) if cross else None,
        activation="none",
        l2_normalise=True,
    )


def points(batch=2, count=6):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, count, 16, generator=generator), torch.rand(
        batch, count, 3, generator=generator
    )


@pytest.mark.parametrize(("name", "count"), COUNTS.items())
def test_each_preset_has_the_released_number_of_parameters(name, count):
    net = build_booster(name, **AS_RELEASED)
    assert sum(p.numel() for p in net.parameters()) == count
    descriptors = torch.randn(1, 5, net.final_proj.in_features)
    out = net(descriptors, torch.rand(1, 5, net.kenc.encoder[0].in_features), None)
    expected = {"F": net.final_proj.in_features, "B": 256}[name[-1]]
    assert out.shape == (1, 5, expected)
    if name.endswith("B"):
        assert out.abs().max() < 1
    else:
        torch.testing.assert_close(out.norm(dim=-1), torch.ones(1, 5))


def test_an_unknown_preset_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'ORB\+Boost-F' is not .* SIFT\+Boost-F"):
        build_booster("ORB+Boost-F", **AS_RELEASED)


@pytest.mark.parametrize("attention", ["aft", "mha"])
def test_padding_changes_nothing(attention):
    net = booster(attention)
    descriptors, keypoints = points()
    padded = [torch.cat([x, 100 * torch.ones_like(x[:, :3])], 1) for x in (descriptors, keypoints)]
    mask = torch.arange(9).expand(2, 9) < 6
    torch.testing.assert_close(net(*padded, mask)[:, :6], net(descriptors, keypoints, None))


@pytest.mark.parametrize("attention", ["aft", "mha"])
def test_the_order_of_points_does_not_matter(attention):
    net, order = booster(attention), torch.tensor([3, 1, 5, 0, 2, 4])
    descriptors, keypoints = points()
    torch.testing.assert_close(
        net(descriptors[:, order], keypoints[:, order], None), net(descriptors, keypoints, None)[:, order]
    )


def test_an_image_without_points_stays_finite_and_leaves_the_others_alone():
    net = booster()
    descriptors, keypoints = points()
    mask = torch.tensor([[True] * 6, [False] * 6])
    out = net(descriptors, keypoints, mask)
    assert out.isfinite().all()
    torch.testing.assert_close(out[:1], net(descriptors[:1], keypoints[:1], None))


def test_points_see_each_other_only_by_cross_boosting():
    descriptors, keypoints = points()
    changed = descriptors.clone()
    changed[:, 0] += 1
    for cross in (True, False):
        net = booster(cross=cross)
        same = torch.allclose(net(changed, keypoints, None)[:, 1:], net(descriptors, keypoints, None)[:, 1:])
        assert same != cross


def test_geometry_matters_only_with_a_keypoint_encoder():
    descriptors, keypoints = points()
    for geometry in (True, False):
        net = booster(geometry=geometry)
        same = torch.allclose(net(descriptors, keypoints + 1, None), net(descriptors, keypoints, None))
        assert same != geometry


def test_dropout_acts_in_training_only():
    net, (descriptors, keypoints) = booster(dropout=0.5), points()
    assert not torch.equal(net(descriptors, keypoints, None), net(descriptors, keypoints, None))
    net.eval()
    assert torch.equal(net(descriptors, keypoints, None), net(descriptors, keypoints, None))


@pytest.mark.parametrize("attention", ["aft", "mha"])
def test_every_parameter_gets_a_gradient(attention):
    net = booster(attention)
    (net(*points(), None) * torch.randn(8)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_attention_free_mixing_equals_its_formula():
    net = booster().double()
    attention = net.attn_proj.layers[0]["attn"]
    x = points(batch=1)[0].double()
    weights = torch.exp(attention.key(x[0]))
    summary = (weights / weights.sum(0) * attention.value(x[0])).sum(0)
    expected = attention.layer_norm(x[0] + attention.proj(torch.sigmoid(attention.query(x[0])) * summary))
    # 1e-6: the soft-max over points is taken in single precision
    torch.testing.assert_close(attention(x, None)[0], expected, atol=1e-6, rtol=1e-6)


def test_released_weights_load_strictly_and_give_unit_vectors():
    if not RELEASED.exists():
        pytest.skip("no ../shared/assets/SIFT+Boost-F.pth beside this checkout")
    net = build_booster("SIFT+Boost-F", **AS_RELEASED).eval()
    net.load_state_dict(torch.load(RELEASED, weights_only=True), strict=True)
    descriptors = torch.nn.functional.normalize(torch.rand(2, 50, 128), dim=-1)
    out = net(descriptors, torch.rand(2, 50, 4) - 0.5, None)
    torch.testing.assert_close(out.norm(dim=-1), torch.ones(2, 50))
    assert out.min() < 0  # no ReLU at the end


def test_keypoints_are_normalised_by_the_longer_side():
    corner = normalise_keypoints(torch.tensor([[640.0, 480.0], [320.0, 240.0]]), torch.tensor([480, 640]))
    torch.testing.assert_close(corner, torch.tensor([[320 / 448, 240 / 448], [0.0, 0.0]]))


def pyramid(width):
    generator = torch.Generator().manual_seed(2)
    level = torch.nn.functional.normalize(torch.randn(1, 64, 4, 4, generator=generator), dim=1)
    levels = (FeatureLevel(map=level, stride=8.0, offset=4.0),)
    return FeaturePyramid(levels=levels, height=32, width=width)


def test_the_grid_booster_starts_as_identity_and_ignores_padded_cells():
    cfg = compose_config("train", ["descriptor@model.descriptor=booster"])
    net = build_net(OmegaConf.to_container(cfg.model.descriptor, resolve=True))
    start = pyramid(32)
    torch.testing.assert_close(net(start).levels[0].map, start.levels[0].map)
    torch.nn.init.normal_(net.booster.final_proj.weight)
    narrow = pyramid(24)
    changed = narrow.map(lambda x: torch.cat([x[..., :3], x[..., 3:].flip(1)], -1))
    torch.testing.assert_close(net(changed).levels[0].map[..., :3], net(narrow).levels[0].map[..., :3])
    assert not torch.allclose(net(pyramid(32)).levels[0].map[..., :3], net(narrow).levels[0].map[..., :3])
