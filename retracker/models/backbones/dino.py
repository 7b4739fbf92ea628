"""DINOv2 and DINOv3 vision transformers from timm, frozen: alone, or above a convolutional network."""

from collections.abc import Sequence
from types import MappingProxyType

import timm
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from retracker.models.backbones.backbone import (
    Backbone,
    ImageNetNormalise,
    WeightTarget,
    freeze,
    pad_to_multiple,
    zero_residual,
)
from retracker.models.backbones.cnn import CnnBody, TopDown
from retracker.types import FeaturePyramid

OFFICIAL = MappingProxyType(
    {
        f"vit_{size}_patch14_reg4_dinov2": "https://dl.fbaipublicfiles.com/dinov2/"
        f"dinov2_vit{size[0]}14/dinov2_vit{size[0]}14_reg4_pretrain.pth"
        for size in ("small", "base", "large")
    }
)
GRID_STRIDE = 16  # the input is resized so that one token covers this many pixels


class DinoBody(nn.Module):
    """A frozen vision transformer whose tokens fall on a grid of stride 16, or ``grid_scale`` times finer.

    ``residual_channels`` is the width of a trained correction that starts at zero; 0 leaves it out.
    """

    def __init__(self, model_name: str, grid_scale: int, residual_channels: int) -> None:
        super().__init__()
        vit = timm.create_model(model_name, pretrained=False, num_classes=0, dynamic_img_size=True)
        self.vit = freeze(vit)
        self.model_name = model_name
        self.grid_scale = grid_scale
        self.channels = self.vit.embed_dim
        self.stride = GRID_STRIDE / grid_scale
        self.offset = self.stride / 2  # a token's centre is the middle of its patch
        self.residual = zero_residual(self.channels, residual_channels) if residual_channels else None
        self.train(self.training)

    def forward(self, image: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Tokens of a normalised image whose sides are multiples of 16."""
        rows, columns = (side // GRID_STRIDE * self.grid_scale for side in image.shape[-2:])
        patch = self.vit.patch_embed.patch_size[0]
        size = (rows * patch, columns * patch)
        with torch.no_grad():
            resized = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
            tokens = self.vit.forward_features(resized)[:, self.vit.num_prefix_tokens :]
        grid = rearrange(tokens, "b (h w) c -> b c h w", h=rows)
        return grid if self.residual is None else grid + self.residual(grid)

    def train(self, mode: bool = True) -> "DinoBody":
        """Switch the mode of the correction; the transformer stays as it was released."""
        super().train(mode)
        self.vit.eval()
        return self

    def weight_target(self) -> WeightTarget:
        """The transformer; weights from timm and from the DINOv2 repository both fit."""
        hub_id = timm.get_pretrained_cfg(self.model_name).hf_hub_id
        url = OFFICIAL.get(self.model_name)
        return WeightTarget(
            name=self.model_name, module=self.vit, convert=_from_official, hub_id=hub_id, url=url
        )


class Dino(Backbone):
    """A single level: the tokens of a frozen vision transformer."""

    def __init__(self, body: DinoBody) -> None:
        super().__init__()
        self.normalise = ImageNetNormalise()
        self.body = body
        self.channels, self.strides, self.offsets = (body.channels,), (body.stride,), (body.offset,)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Encode RGB in [0, 1] of any size."""
        return self.pyramid([self.body(pad_to_multiple(self.normalise(images), GRID_STRIDE))], images)

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        return (self.body.weight_target(),)


class DinoCnn(Backbone):
    """DINO tokens as the coarsest level, handed down to the finer levels of a convolutional network.

    ``channels`` are those of the finer levels; the coarsest keeps the transformer's own.
    """

    def __init__(self, dino: DinoBody, cnn: CnnBody, channels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(cnn.strides) or cnn.strides[0] > dino.stride:
            raise ValueError(
                f"channels {list(channels)} with strides {cnn.strides}: expected a channel count for each "
                f"stride, and none coarser than the transformer's {dino.stride:g}"
            )
        self.normalise = ImageNetNormalise()
        self.dino, self.cnn = dino, cnn
        self.channels = (dino.channels, *channels)
        self.strides = (dino.stride, *cnn.strides)
        self.offsets = (dino.offset, *cnn.offsets)
        self.top_down = TopDown(cnn.channels, self.channels, self.strides, self.offsets)
        self.train(self.training)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Encode RGB in [0, 1] of any size."""
        image = pad_to_multiple(self.normalise(images), GRID_STRIDE)
        return self.pyramid(self.top_down(self.dino(image), self.cnn(image)), images)

    def weight_targets(self) -> tuple[WeightTarget, ...]:
        return (self.dino.weight_target(), self.cnn.weight_target())


def _from_official(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the DINOv2 repository; timm's own pass unchanged."""
    if "register_tokens" not in state:
        return state
    state = {key: value for key, value in state.items() if key != "mask_token"}
    position = state.pop("pos_embed")  # 1 (1 + patches) C: timm adds the class token's own to the token
    return state | {
        "reg_token": state.pop("register_tokens"),
        "cls_token": state["cls_token"] + position[:, :1],
        "pos_embed": position[:, 1:],
    }
