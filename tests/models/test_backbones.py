"""Backbones: where their cells lie, what their batch, padding and mode may change, and what learns."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from kornia.feature.xfeat import XFeatModel
from omegaconf import OmegaConf

from retracker.geometry.coords import sample
from retracker.models.backbones.backbone import IMAGENET_MEAN, resample
from retracker.models.backbones.cnn import CnnBody, CnnFpn
from retracker.models.backbones.dino import Dino, DinoBody, DinoCnn
from retracker.models.backbones.xfeat import XFeat, normalise

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "backbone").glob("*.yaml"))
VIT = "vit_small_patch14_reg4_dinov2"


def xfeat():
    return XFeat(channels=[64, 16, 8], stem_channels=8, frozen=True)


def resnet():
    return CnnFpn(CnnBody("resnet18", [16, 8, 2], [0.5, 0.5, 0.5]), channels=[32, 16, 8])


def vgg():
    return CnnFpn(CnnBody("vgg11_bn", [16, 8, 2], [8.0, 4.0, 1.0]), channels=[32, 16, 8])


def dino():
    return Dino(DinoBody(VIT, grid_scale=1, residual_channels=8))


def dino_vgg():
    body = DinoBody(VIT, grid_scale=1, residual_channels=0)
    return DinoCnn(body, CnnBody("vgg11_bn", [8, 2], [4.0, 1.0]), channels=[16, 8])


BUILDERS = [xfeat, resnet, vgg, dino, dino_vgg]


def build(builder):
    torch.manual_seed(0)
    return builder().eval()


def smooth_images(count, height, width):
    coarse = torch.rand(count, 3, height // 6, width // 6, generator=torch.Generator().manual_seed(3))
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def stir(net):
    """Move every parameter off its special start (zero residuals, identity kernels)."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.03 * torch.randn(parameter.shape, generator=generator))


def symmetrise(net):
    """Make every kernel, and the transformer's grid of positions, its own mirror image along both axes."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, torch.nn.Conv2d):
                weight = module.weight
                for dim in (-1, -2):
                    weight = (weight + weight.flip(dim)) / 2
                module.weight.copy_(weight)
            if hasattr(module, "pos_embed"):
                grid = module.pos_embed.unflatten(1, (37, 37))
                for dim in (1, 2):
                    grid = (grid + grid.flip(dim)) / 2
                module.pos_embed.copy_(grid.flatten(1, 2))


def mirrored_errors(net, image, dim):
    """Per level, the mirrored features' error over their spread: as declared, and half a cell off."""
    extent = torch.tensor([image.shape[-1], image.shape[-2]]).float()
    xy = (0.3 + 0.4 * torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(5))) * extent
    mirrored_xy = xy.clone()
    axis = {-1: 0, -2: 1}[dim]
    mirrored_xy[..., axis] = extent[axis] - xy[..., axis]
    with torch.no_grad():
        levels, mirrored = net(image).levels, net(image.flip(dim)).levels
    right, wrong = [], []
    for a, b in zip(levels, mirrored, strict=True):
        for errors, cells in ((right, 0.0), (wrong, 0.5)):
            moved_a, moved_b = (replace(x, offset=x.offset + cells * x.stride) for x in (a, b))
            here, there = sample(moved_a, xy), sample(moved_b, mirrored_xy)
            spread = (here - here.mean(1, keepdim=True)).norm(dim=-1).mean()
            errors.append(((here - there).norm(dim=-1).mean() / spread).item())
    return right, wrong


# An offset of stride/2 is mirrored onto itself where the size is a multiple of the stride, 0.5 px where it
# is one more: there padding on one side reaches into the frame, hence the longer frame and the tolerance.
@pytest.mark.parametrize("dim", [-1, -2])
@pytest.mark.parametrize(
    ("builder", "side", "tolerance"),
    [(resnet, 321, 0.05), (vgg, 96, 1e-3), (dino, 96, 1e-3), (dino_vgg, 96, 1e-3)],
)
def test_a_mirrored_frame_has_mirrored_features(builder, side, tolerance, dim):
    net = build(builder)
    stir(net)
    symmetrise(net)
    size = (96, side) if dim == -1 else (side, 96)
    right, wrong = mirrored_errors(net, smooth_images(1, *size), dim)
    assert max(right) < tolerance
    assert min(wrong) > 4 * tolerance


@pytest.mark.parametrize("dim", [-1, -2])
def test_the_trained_branch_of_xfeat_mirrors_at_the_declared_offsets(dim):
    net = build(xfeat)
    symmetrise(net)
    with torch.no_grad():
        net.fuse2.weight[:, 8:] = 0  # without the frozen trunk, whose kernels have no such symmetry
        net.fuse4.weight[:, 8:] = 0
    right, wrong = mirrored_errors(net, smooth_images(1, 96, 96), dim)
    assert max(right[1:]) < 1e-3
    assert min(wrong[1:]) > 0.1


def test_the_coarse_level_of_xfeat_starts_as_xfeat():
    torch.manual_seed(0)
    reference, net = XFeatModel().eval(), xfeat().eval()
    (target,) = net.weight_targets()
    target.module.load_state_dict(target.convert(reference.state_dict()))
    images = smooth_images(2, 64, 96)
    with torch.no_grad():
        expected = F.normalize(reference(images)[0], dim=1)
        torch.testing.assert_close(net(images).levels[0].map, expected, atol=1e-4, rtol=1e-4)


def test_xfeat_measures_contrast_before_it_pads():
    net, image = build(xfeat), smooth_images(1, 61, 90)
    padded = F.pad(normalise(image), (0, 6, 0, 3))
    with torch.no_grad():
        expected = F.normalize(net.trunk(padded.mean(1, keepdim=True))[0], dim=1)
        torch.testing.assert_close(net(image).levels[0].map, expected)


@pytest.mark.parametrize("builder", [resnet, vgg, dino, dino_vgg])
def test_padding_looks_like_the_mean_colour(builder):
    net = build(builder)
    image = torch.tensor(IMAGENET_MEAN)[:, None, None].expand(1, 3, 64, 96).clone()
    image[..., :50, :81] = smooth_images(1, 50, 81)[..., :50, :81]
    with torch.no_grad():
        whole, part = net(image), net(image[..., :50, :81])
    assert (part.height, part.width) == (50, 81)
    for a, b in zip(whole.levels, part.levels, strict=True):
        # The mean colour is zero only up to rounding.
        torch.testing.assert_close(a.map, b.map, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("builder", BUILDERS)
def test_levels_are_unit_vectors_as_declared(builder):
    net = build(builder)
    with torch.no_grad():
        pyramid = net(smooth_images(2, 64, 96))
    assert tuple(level.stride for level in pyramid.levels) == net.strides
    assert tuple(level.offset for level in pyramid.levels) == net.offsets
    for level, channels in zip(pyramid.levels, net.channels, strict=True):
        assert level.map.shape == (2, channels, 64 // level.stride, 96 // level.stride)
        assert level.map.dtype == torch.float32
        torch.testing.assert_close(level.map.norm(dim=1), torch.ones_like(level.map[:, 0]))


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_frame_does_not_depend_on_its_batch_nor_on_training_mode(builder):
    net, images = build(builder), smooth_images(3, 64, 64)
    with torch.no_grad():
        alone = net(images[:1])
        before = {name: value.clone() for name, value in net.named_buffers()}
        together = net.train()(images)
    for name, value in net.named_buffers():
        assert torch.equal(value, before[name]), name
    for a, b in zip(alone.levels, together.levels, strict=True):
        # A batched convolution may sum in another order.
        torch.testing.assert_close(a.map, b.map[:1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("builder", BUILDERS)
def test_every_trainable_parameter_gets_a_gradient(builder):
    net = build(builder).train()
    stir(net)
    generator = torch.Generator().manual_seed(7)
    pyramid = net(smooth_images(2, 64, 64))
    sum((x.map * torch.randn(x.map.shape, generator=generator)).sum() for x in pyramid.levels).backward()
    trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
    assert [name for name, p in trainable.items() if p.grad is None or not p.grad.any()] == []
    assert [n for n in trainable if "trunk" in n or "vit" in n] == []


@pytest.mark.parametrize("builder", [xfeat, resnet])
def test_mixed_precision_still_hands_out_single_precision(builder):
    net, images = build(builder), smooth_images(1, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = net(images)
    for level in mixed.levels:
        assert level.map.dtype == torch.float32
        # Normalised after the cast: bf16 itself would be off by up to 4e-3.
        torch.testing.assert_close(level.map.norm(dim=1), torch.ones_like(level.map[:, 0]))


@pytest.mark.parametrize("shade", [0.0, 1.0])
def test_a_blank_frame_has_finite_features_and_gradients(shade):
    net = build(xfeat).train()
    pyramid = net(torch.full((1, 3, 64, 64), shade))
    sum((level.map**3).sum() for level in pyramid.levels).backward()
    assert all(level.map.isfinite().all() for level in pyramid.levels)
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)


def test_a_finer_token_grid_halves_stride_and_offset():
    net = Dino(DinoBody(VIT, grid_scale=2, residual_channels=0))
    level = net(smooth_images(1, 32, 48)).levels[0]
    assert (level.stride, level.offset, level.map.shape) == (8.0, 4.0, (1, 384, 4, 6))


def test_dinov3_is_dinov2s_class_with_another_name():
    (path,) = (path for path in CONFIGS if path.stem == "dinov3_small")
    net = instantiate(OmegaConf.load(path)).train()
    images = smooth_images(2, 64, 96)
    with torch.no_grad():
        level, alone = net(images).levels[0], net(images[:1]).levels[0]
    assert (level.stride, level.offset, level.map.shape) == (16.0, 8.0, (2, 384, 4, 6))
    # Its position is a rotation of every token: no two cells of a frame may come out alike.
    cells = level.map[0].flatten(1).mT
    assert (cells @ cells.mT - torch.eye(24)).amax() < 0.9999
    torch.testing.assert_close(level.map[:1], alone.map, atol=1e-4, rtol=1e-3)
    assert [name for name, p in net.named_parameters() if p.requires_grad] == []
    (target,) = net.weight_targets()
    assert (target.name, target.url) == ("vit_small_patch16_dinov3", None)


def test_resampling_a_ramp_reads_its_new_centres():
    columns = 16 * torch.arange(6.0) + 8  # a level of stride 16 and offset 8 that holds its own x
    ramp = columns.expand(1, 1, 6, 6)
    finer = resample(ramp, (12, 12), ratio=8 / 16, shift=(0.5 - 8) / 16)
    torch.testing.assert_close(finer[0, 0, 0], (8 * torch.arange(12.0) + 0.5).clamp(8, 88))
    torch.testing.assert_close(resample(ramp.mT, (12, 12), 0.5, (0.5 - 8) / 16), finer.mT)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_backbone_config_builds_without_weights(path):
    with torch.device("meta"):
        net = instantiate(OmegaConf.load(path))
    assert len(net.channels) == len(net.strides) == len(net.offsets)
    assert list(net.strides) == sorted(net.strides, reverse=True)


def test_wrong_sizes_are_refused_with_what_was_expected():
    with pytest.raises(ValueError, match=r"resnet18: strides \[16, 3\].*descending strides out of \[2, 4"):
        CnnBody("resnet18", [16, 3], [0.5, 0.5])
    with pytest.raises(ValueError, match="channels: expected one for each stride"):
        CnnFpn(CnnBody("resnet18", [16, 8], [0.5, 0.5]), channels=[8])
    with pytest.raises(ValueError, match=r"channels: expected \[64, c4, c2\]"):
        XFeat(channels=[32, 16, 8], stem_channels=8, frozen=True)
