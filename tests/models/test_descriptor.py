"""FeatureBooster: released shapes and weights, masks, and its place in the tracker."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, fitted
from retracker.configuration import compose_config
from retracker.models.descriptor import (
    CrossBoosting,
    DescriptorEncoder,
    FeatureBooster,
    KeypointEncoder,
    boost,
    build_booster,
    normalise_keypoints,
)
from retracker.types import FeatureLevel, FeaturePyramid, LocalFeatures

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


def features(count, seed=3, width=128, geometry=2, size=(120, 200)):
    """Those of one image."""
    generator = torch.Generator().manual_seed(seed)
    return LocalFeatures(
        xy=torch.rand(count, 2, generator=generator) * torch.tensor(size).flip(0),
        geometry=torch.rand(count, geometry, generator=generator) * 3,
        descriptors=F.normalize(torch.randn(count, width, generator=generator), dim=-1),
        present=torch.ones(count, dtype=torch.bool),
        size=torch.tensor(size),
    )


def sift_booster(**switches):
    torch.manual_seed(4)
    return build_booster("SIFT+Boost-F", **(AS_RELEASED | switches)).eval()


def papers_data_flow(state, descriptors, keypoints):
    """SIFT+Boost-F from the tensors alone, one image, as section 3 of the paper says."""

    def linear(name, x):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def mlp(name, x, layers):
        for index in range(0, 2 * layers, 2):
            x = linear(f"{name}.{index}", x.clamp(min=0) if index else x)
        return x

    def norm(name, x):
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = descriptors + mlp("denc.encoder", descriptors, 3) + mlp("kenc.encoder", keypoints, 5)
    x = norm("layer_norm", x)
    for block in (f"attn_proj.layers.{index}" for index in range(4)):
        attention = f"{block}.attn"
        weights = linear(f"{attention}.key", x).exp()
        summary = (weights / weights.sum(0) * linear(f"{attention}.value", x)).sum(0)
        gated = summary / (1 + (-linear(f"{attention}.query", x)).exp())
        x = norm(f"{attention}.layer_norm", x + linear(f"{attention}.proj", gated))
        x = norm(f"{block}.ffn.layer_norm", x + mlp(f"{block}.ffn.mlp", x, 2))
    out = linear("final_proj", x)
    return out / out.norm(dim=1, keepdim=True)


def test_boosting_is_the_papers_data_flow_with_the_released_names():
    net, found = sift_booster().double(), features(7)
    found = replace(found, **{k: getattr(found, k).double() for k in ("xy", "geometry", "descriptors")})
    normalised = (found.xy - torch.tensor([100.0, 60.0])) / (0.7 * 200)
    expected = papers_data_flow(
        net.state_dict(), found.descriptors, torch.cat([normalised, found.geometry], 1)
    )
    # 1e-6: the soft-max over points is taken in single precision
    torch.testing.assert_close(boost(net, found), expected, atol=1e-6, rtol=1e-6)


def test_images_boosted_together_are_as_one_by_one():
    net = sift_booster()
    several = [features(5, seed=1), features(9, seed=2, size=(300, 150)), features(0, seed=3)]

    def padded(x):
        return F.pad(x, (0, 0) * (x.ndim - 1) + (0, 9 - len(x)))

    names = ("xy", "geometry", "descriptors", "present")
    batch = LocalFeatures(
        **{name: torch.stack([padded(getattr(one, name)) for one in several]) for name in names},
        size=torch.stack([one.size for one in several]),
    )
    together = boost(net, batch)
    assert together.isfinite().all()
    for one, of_batch in zip(several, together, strict=True):
        torch.testing.assert_close(of_batch[: len(one.xy)], boost(net, one), atol=1e-5, rtol=1e-5)


def test_an_image_without_keypoints_gives_no_descriptors():
    assert boost(sift_booster(), features(0)).shape == (0, 128)


def test_the_order_of_an_images_keypoints_does_not_matter_to_any_preset():
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for name, (width, geometry) in {"ORB+Boost-B": (256, 2), "XFeat+Boost-F": (64, 1)}.items():
        torch.manual_seed(5)
        net, found = (
            build_booster(name, **AS_RELEASED).eval(),
            features(6, width=width, geometry=geometry),
        )
        names = ("xy", "geometry", "descriptors", "present")
        turned = replace(found, **{key: getattr(found, key)[order] for key in names})
        torch.testing.assert_close(boost(net, turned), boost(net, found)[order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("key", ["descriptors", "xy", "geometry"])
def test_what_is_not_finite_is_refused_unless_it_is_padding(key):
    net, found = sift_booster(), features(4)
    broken = getattr(found, key).clone()
    broken[2, 0] = torch.nan
    broken = replace(found, **{key: broken})
    with pytest.raises(ValueError, match=f"{key} of 1 of 4 keypoints are not finite"):
        boost(net, broken)
    there = torch.tensor([True, True, False, True])
    for attention in ("aft", "mha"):
        net = sift_booster(attention=attention)
        sound = boost(net, replace(found, present=there))
        torch.testing.assert_close(boost(net, replace(broken, present=there)), sound)


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (features(3, width=256), "descriptors of 128 numbers, as this booster reads, got 256"),
        (
            features(3, geometry=1),
            "expected 2 numbers of geometry per keypoint, as this booster reads, got 1",
        ),
    ],
)
def test_features_of_another_detector_are_refused(found, complaint):
    with pytest.raises(ValueError, match=complaint):
        boost(sift_booster(), found)


def test_switches_leave_out_what_they_name():
    whole = set(sift_booster().state_dict())
    without = {
        "keypoint_encoder": {name for name in whole if not name.startswith("kenc.")},
        "cross_boosting": {name for name in whole if not name.startswith(("attn_proj.", "layer_norm."))},
    }
    for switch, names in without.items():
        assert set(sift_booster(**{switch: False}).state_dict()) == names
    multi_head = sift_booster(attention="mha")
    assert "attn_proj.layers.0.attn.qkv.weight" in multi_head.state_dict()
    alone = boost(sift_booster(keypoint_encoder=False), replace(features(3), geometry=torch.zeros(3, 0)))
    assert alone.shape == (3, 128)  # geometry that nobody reads may be missing
    with pytest.raises(ValueError, match="'aft' or 'mha', got 'full'"):
        sift_booster(attention="full")


def test_names_of_presets_may_be_written_in_any_case():
    assert build_booster("orb+boost-b", **AS_RELEASED).binary
    assert not build_booster("SUPERPOINT+BOOST-F", **AS_RELEASED).binary


def test_dropout_of_a_named_net_acts_in_training_only():
    net, found = sift_booster(dropout=0.5), features(6)
    torch.testing.assert_close(boost(net, found), boost(net, found))
    net.train()
    assert not torch.equal(boost(net, found), boost(net, found))


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
    net = build_net(fitted(OmegaConf.to_container(cfg.model, resolve=True))["descriptor"])
    start = pyramid(32)
    torch.testing.assert_close(net(start).levels[0].map, start.levels[0].map)
    torch.nn.init.normal_(net.booster.final_proj.weight)
    narrow = pyramid(24)
    changed = narrow.map(lambda x: torch.cat([x[..., :3], x[..., 3:].flip(1)], -1))
    torch.testing.assert_close(net(changed).levels[0].map[..., :3], net(narrow).levels[0].map[..., :3])
    assert not torch.allclose(net(pyramid(32)).levels[0].map[..., :3], net(narrow).levels[0].map[..., :3])
