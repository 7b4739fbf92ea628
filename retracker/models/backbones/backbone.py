"""What every backbone shares: frozen batch statistics, padding, maps with their geometry."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from retracker.types import FeatureLevel, FeaturePyramid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MIN_NORM = 1e-4  # of a feature vector: a cell without content must not send back a huge gradient


@dataclass(frozen=True, kw_only=True)
class WeightTarget:
    """A part of a backbone for which weights have been released, and where they can be found."""

    name: str  # also the stem of a local file
    module: nn.Module
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]]  # released key names -> the module's
    package: str | None = None  # an installed package that carries them as weights/<name>.pt
    hub_id: str | None = None  # a repository of the Hugging Face hub with model.safetensors
    url: str | None = None  # a .pth file


class Backbone(nn.Module):
    """An image encoder; ``channels``, ``strides`` and ``offsets`` describe its levels, coarse to fine."""

    channels: tuple[int, ...]
    strides: tuple[float, ...]
    offsets: tuple[float, ...]

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        """The parts that can start from released weights: none, unless a subclass names them."""
        return ()

    def train(self, mode: bool = True) -> "Backbone":
        """Switch the mode, but never let batch statistics move: a frame must not depend on its batch."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
        return self

    def pyramid(self, maps: Sequence[Float[Tensor, "B _ _ _"]], image: Tensor) -> FeaturePyramid:
        """Normalise the maps over channels and name where their cells lie in ``image`` (B 3 H W).

        A cell's channels lie side by side in memory: points read whole cells.
        """

        def unit(level: Tensor) -> Tensor:
            level = level.float().contiguous(memory_format=torch.channels_last)
            return F.normalize(level, dim=1, eps=MIN_NORM)

        levels = tuple(
            FeatureLevel(map=unit(level), stride=stride, offset=offset)
            for level, stride, offset in zip(maps, self.strides, self.offsets, strict=True)
        )
        return FeaturePyramid(levels=levels, height=image.shape[-2], width=image.shape[-1])


class ImageNetNormalise(nn.Module):
    """Bring RGB in [0, 1] to the mean and deviation that ImageNet models are trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        return (images - self.mean) / self.std


def pad_to_multiple(image: Float[Tensor, "B C H W"], multiple: int) -> Float[Tensor, "B C h w"]:
    """Append zero rows at the bottom and zero columns at the right up to the next multiple."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, -width % multiple, 0, -height % multiple))


def freeze(module: nn.Module) -> nn.Module:
    """Take every parameter of a module out of training."""
    return module.requires_grad_(requires_grad=False)


def resample(
    level: Float[Tensor, "B C H W"], size: tuple[int, int], ratio: float, shift: float
) -> Float[Tensor, "B C h w"]:
    """Bilinearly read a map at its cells ``ratio * i + shift``; beyond the map its border is repeated.

    A level of (stride, offset) (s, o) is read at the cells of (s', o') with ratio s'/s and shift (o' - o)/s.
    """
    rows = _resample_axis(level, size[0], ratio, shift, dim=-2)
    return _resample_axis(rows, size[1], ratio, shift, dim=-1)


def zero_residual(channels: int, hidden: int) -> nn.Sequential:
    """A small convolutional correction to a map that starts as nothing."""
    last = nn.Conv2d(hidden, channels, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU(), last)


def _resample_axis(level: Tensor, count: int, ratio: float, shift: float, dim: int) -> Tensor:
    last = level.shape[dim] - 1
    at = (torch.arange(count, device=level.device, dtype=torch.float32) * ratio + shift).clamp(0, last)
    low = at.floor().long()
    weight = (at - low).to(level.dtype).reshape([-1, 1] if dim == -2 else [-1])
    high = (low + 1).clamp(max=last)
    return torch.lerp(level.index_select(dim, low), level.index_select(dim, high), weight)
