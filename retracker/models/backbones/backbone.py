"""What every backbone shares: frozen batch statistics, zero padding, and maps that know where their cells lie."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retracker.types import FeatureLevel, FeaturePyramid


class Backbone(nn.Module):
    """An image encoder; ``channels``, ``strides`` and ``offsets`` describe its levels, coarse to fine.

    ``weights_name`` says which released weights fit (see ``retracker.backbone_weights``).
    """

    channels: tuple[int, ...]
    strides: tuple[float, ...]
    offsets: tuple[float, ...]
    weights_name: str

    def train(self, mode: bool = True) -> "Backbone":
        """Switch the mode, but never let batch statistics move: a frame must not depend on its batch."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def pyramid(self, maps: Sequence[Float[Tensor, "B _ _ _"]], image: Tensor) -> FeaturePyramid:
        """Normalise the maps over channels and name where their cells lie in ``image`` (B 3 H W)."""
        levels = tuple(
            FeatureLevel(map=F.normalize(level.float(), dim=1), stride=stride, offset=offset)
            for level, stride, offset in zip(maps, self.strides, self.offsets, strict=True)
        )
        return FeaturePyramid(levels=levels, height=image.shape[-2], width=image.shape[-1])


def pad_to_multiple(image: Float[Tensor, "B C H W"], multiple: int) -> Float[Tensor, "B C h w"]:
    """Append zero rows at the bottom and zero columns at the right up to the next multiple."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple))


def freeze(module: nn.Module) -> nn.Module:
    """Take every parameter of a module out of training."""
    return module.requires_grad_(False)  # noqa: FBT003


def shift_map(level: Float[Tensor, "B C H W"], cells: float) -> Float[Tensor, "B C H W"]:
    """Read a map ``cells`` further right and down (bilinearly, the border is repeated): its centres move there."""
    for dim in (-1, -2):
        level = _shift_axis(level, cells, dim)
    return level


def _shift_axis(level: Tensor, cells: float, dim: int) -> Tensor:
    size = level.shape[dim]
    at = (torch.arange(size, device=level.device, dtype=torch.float32) + cells).clamp(0, size - 1)
    low = at.floor().long().clamp(max=max(size - 2, 0))
    weight = (at - low).to(level.dtype)
    weight = weight[:, None] if dim == -2 else weight
    high = (low + 1).clamp(max=size - 1)
    return torch.lerp(level.index_select(dim, low), level.index_select(dim, high), weight)
