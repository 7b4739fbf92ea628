"""The layers of FeatureBooster (CVPR 2023): descriptors change by themselves, by geometry, by each other."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

NORM_EPS = 1e-6  # of every LayerNorm in the released networks
MHA_HEADS = 4  # in the ablation that replaces AFT


class KeypointEncoder(nn.Module):
    """Geometry of a keypoint as a vector that is added to its descriptor."""

    def __init__(self, keypoint_size: int, hidden: Sequence[int], channels: int, dropout: float) -> None:
        super().__init__()
        self.encoder = _mlp([keypoint_size, *hidden, channels])
        self.dropout = nn.Dropout(dropout)

    def forward(self, keypoints: Float[Tensor, "B K G"]) -> Float[Tensor, "B K D"]:
        return self.dropout(self.encoder(keypoints))


class DescriptorEncoder(nn.Module):
    """What is added to a descriptor from itself."""

    def __init__(self, channels: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.encoder = _mlp([channels, *hidden, channels])

    def forward(self, descriptors: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        return self.encoder(descriptors)


class CrossBoosting(nn.Module):
    """Post-norm blocks through which the descriptors of an image see each other."""

    def __init__(self, channels: int, num_layers: int, attention: str, dropout: float) -> None:
        super().__init__()
        if attention not in ("aft", "mha"):
            raise ValueError(f"attention: expected 'aft' or 'mha', got {attention!r}")
        kind = AttentionFree if attention == "aft" else MultiHead
        self.layers = nn.ModuleList(
            nn.ModuleDict({"attn": kind(channels, dropout), "ffn": FeedForward(channels, dropout)})
            for _ in range(num_layers)
        )

    def forward(self, x: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"] | None) -> Float[Tensor, "B K D"]:
        for layer in self.layers:
            x = layer["ffn"](layer["attn"](x, mask))
        return x


class AttentionFree(nn.Module):
    """AFT-Simple: every descriptor gates one summary of the image, at linear cost."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.query, self.key, self.value, self.proj = (nn.Linear(channels, channels) for _ in range(4))
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"] | None) -> Float[Tensor, "B K D"]:
        key = self.key(x).float()
        if mask is not None:
            # Not -inf: an image without a single keypoint must not become NaN.
            key = key.masked_fill(~mask[..., None], torch.finfo(key.dtype).min)
        summary = (key.softmax(1) * self.value(x)).sum(1, keepdim=True)  # B 1 D
        update = self.proj((self.query(x).sigmoid() * summary).to(x.dtype))
        return self.layer_norm(x + self.dropout(update))


class MultiHead(nn.Module):
    """Self-attention in place of AFT, at quadratic cost."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Float[Tensor, "B K D"], mask: Bool[Tensor, "B K"] | None) -> Float[Tensor, "B K D"]:
        q, k, v = rearrange(self.qkv(x), "b n (d s h) -> s b h n d", s=3, h=MHA_HEADS)
        bias = None
        if mask is not None:
            hidden = torch.finfo(q.dtype).min  # finite for the same reason as in AFT
            bias = torch.zeros_like(mask, dtype=q.dtype).masked_fill(~mask, hidden)[:, None, None]  # B 1 1 K
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.layer_norm(x + self.dropout(self.proj(rearrange(mixed, "b h n d -> b n (d h)"))))


class FeedForward(nn.Module):
    """The pointwise half of a block."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.mlp = _mlp([channels, 2 * channels, channels])
        self.dropout = nn.Dropout(dropout)
        self.layer_norm = nn.LayerNorm(channels, eps=NORM_EPS)

    def forward(self, x: Float[Tensor, "B K D"]) -> Float[Tensor, "B K D"]:
        return self.layer_norm(x + self.dropout(self.mlp(x)))


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
