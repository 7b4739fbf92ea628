"""Convolutional networks from timm (ResNet, VGG, ...) with a top-down pathway, as a pyramid."""

import re
from collections.abc import Sequence

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from retracker.models.backbones.backbone import (
    Backbone,
    ImageNetNormalise,
    WeightTarget,
    pad_to_multiple,
    resample,
)
from retracker.types import FeaturePyramid


class CnnBody(nn.Module):
    """A timm network cut after its coarsest wanted stride; ``strides`` and ``offsets`` are coarse to fine.

    ``offsets`` follow from the network: strided odd kernels (ResNet) keep 0.5 px, pooling (VGG) stride/2.
    """

    def __init__(self, model_name: str, strides: Sequence[int], offsets: Sequence[float]) -> None:
        super().__init__()
        with torch.device("meta"):
            whole = timm.create_model(model_name, features_only=True, pretrained=False)
        reductions = whole.feature_info.reduction()
        known = sorted(set(strides) & set(reductions), reverse=True)
        if list(strides) != known or len(offsets) != len(strides):
            raise ValueError(
                f"{model_name}: strides {list(strides)} with offsets {list(offsets)}: "
                f"expected descending strides out of {reductions}, and an offset for each"
            )
        indices = [reductions.index(stride) for stride in reversed(strides)]
        # timm builds VGG's classifier, 120 M parameters, only to cut it off again: make it narrow.
        head = {"mlp_ratio": 1 / 4096} if model_name.startswith("vgg") else {}
        self.network = timm.create_model(
            model_name, features_only=True, pretrained=False, out_indices=indices, **head
        )
        self.model_name = model_name
        self.strides = tuple(map(float, strides))
        self.offsets = tuple(map(float, offsets))
        self.channels = tuple(reversed(self.network.feature_info.channels()))

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> list[Tensor]:
        """Maps, coarse to fine, of a normalised image whose sides are multiples of the largest stride."""
        return self.network(image)[::-1]

    def weight_target(self) -> WeightTarget:
        """The network, which ImageNet classifiers of the same name fit."""
        hub_id = timm.get_pretrained_cfg(self.model_name).hf_hub_id
        return WeightTarget(name=self.model_name, module=self.network, convert=self._convert, hub_id=hub_id)

    def _convert(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        # timm flattens VGG's `features.0` to `features_0`; later stages and the classifier are cut off.
        flat = {re.sub(r"^features\.(\d+)\.", r"features_\1.", key): value for key, value in state.items()}
        wanted = self.network.state_dict().keys()
        return {key: value for key, value in flat.items() if key in wanted}


class TopDown(nn.Module):
    """Hand a coarse map down: a finer map is the network's own, projected, plus the coarser one up-sampled.

    ``in_channels`` are those of the network's finer maps; ``channels`` those of all levels, the coarse one
    included. The coarse map is projected before it is up-sampled, which is cheap.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[float],
        offsets: Sequence[float],
    ) -> None:
        super().__init__()
        self.strides, self.offsets = tuple(strides), tuple(offsets)
        out = channels[1:]
        self.lateral = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(in_channels, out, strict=True))
        self.handed = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in zip(channels[:-1], out, strict=True))
        self.smooth = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in out)
        for convolution in self.smooth:
            nn.init.dirac_(convolution.weight)  # starts as the plain sum

    def forward(self, coarse: Float[Tensor, "B _ _ _"], finer: Sequence[Tensor]) -> list[Tensor]:
        """All levels, coarse to fine."""
        maps = [coarse]
        for i, own in enumerate(finer):
            ratio = self.strides[i + 1] / self.strides[i]
            shift = (self.offsets[i + 1] - self.offsets[i]) / self.strides[i]
            above = resample(self.handed[i](maps[-1]), own.shape[-2:], ratio, shift)
            maps.append(self.smooth[i](self.lateral[i](own) + above))
        return maps


class CnnFpn(Backbone):
    """A convolutional body and its top-down pathway; ``channels`` are those of the levels, coarse to fine."""

    def __init__(self, body: CnnBody, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(body.strides):
            raise ValueError(
                f"channels: expected one for each stride of {body.strides}, got {list(channels)}"
            )
        self.channels, self.strides, self.offsets = tuple(channels), body.strides, body.offsets
        self.normalise = ImageNetNormalise()
        self.body = body
        self.top = nn.Conv2d(body.channels[0], channels[0], 1)
        self.top_down = TopDown(body.channels[1:], channels, body.strides, body.offsets)
        self.train(self.training)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Encode RGB in [0, 1] of any size."""
        coarse, *finer = self.body(pad_to_multiple(self.normalise(images), int(self.strides[0])))
        return self.pyramid(self.top_down(self.top(coarse), finer), images)

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        return (self.body.weight_target(),)
