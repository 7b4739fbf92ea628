"""FeatureBooster (CVPR 2023): the descriptors of one image, rewritten in the light of each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import cell_centres
from retracker.types import FeatureLevel, FeaturePyramid, Grid

NORM_EPS = 1e-6  # of every LayerNorm in the released networks
MHA_HEADS = 4  # in the ablation that replaces AFT
KEYPOINT_SPAN = 0.7  # released networks see (x - W/2) / (0.7 max(H, W)), likewise y


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The shape of one released network."""

    channels: int
    out_channels: int
    keypoint_size: int  # (x, y, size, angle rad) or (x, y, score)
    keypoint_hidden: tuple[int, ...]
    descriptor_hidden: tuple[int, ...]
    num_layers: int
    binary: bool  # tanh instead of unit norm; a bit is the sign


_SIFT = Preset(
    channels=128,
    out_channels=128,
    keypoint_size=4,
    keypoint_hidden=(32, 64, 128, 128),
    descriptor_hidden=(256, 128),
    num_layers=4,
    binary=False,
)
_SUPERPOINT = Preset(
    channels=256,
    out_channels=256,
    keypoint_size=3,
    keypoint_hidden=(32, 64, 128, 256),
    descriptor_hidden=(256, 256),
    num_layers=9,
    binary=False,
)
_ALIKE = replace(_SIFT, keypoint_size=3, num_layers=9)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "ORB+Boost-B": replace(
            _SUPERPOINT, keypoint_size=4, descriptor_hidden=(512, 256), num_layers=4, binary=True
        ),
        "SIFT+Boost-F": _SIFT,
        "SIFT+Boost-B": replace(_SIFT, out_channels=256, binary=True),
        "SuperPoint+Boost-F": _SUPERPOINT,
        "SuperPoint+Boost-B": replace(_SUPERPOINT, binary=True),
        "ALIKE+Boost-F": _ALIKE,
        "ALIKE+Boost-B": replace(_ALIKE, out_channels=256, binary=True),
    }
)


class FeatureBooster(nn.Module):
    """Self-boosting (own descriptor and geometry), cross-boosting (all of the image), projection.

    ``kenc`` and ``attn_proj`` may be None: no geometry, no cross-boosting. The parts are named as in the
    released state dicts.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kenc: nn.Module | None,
        denc: nn.Module,
        attn_proj: nn.Module | None,
        activation: str,
        l2_normalise: bool,
    ) -> None:
        super().__init__()
        if activation not in ("none", "tanh"):
            raise ValueError(f"activation: expected 'none' or 'tanh', got {activation!r}")
        self.kenc, self.denc, self.attn_proj = kenc, denc, attn_proj
        self.layer_norm = None if attn_proj is None else nn.LayerNorm(channels, eps=NORM_EPS)
        self.final_proj = nn.Linear(channels, out_channels)
        self.activation = nn.Tanh() if activation == "tanh" else nn.Identity()
        self.l2_normalise = l2_normalise

    @classmethod
    def from_preset(cls, name: str) -> "FeatureBooster":
        """An untrained network of a released shape, e.g. ``SIFT+Boost-F``."""
        if name not in PRESETS:
            raise ValueError(f"{name!r} is not a FeatureBooster preset; there are {', '.join(PRESETS)}")
        p = PRESETS[name]
        return cls(
            channels=p.channels,
            out_channels=p.out_channels,
            kenc=KeypointEncoder(p.keypoint_size, p.keypoint_hidden, p.channels, dropout=0.0),
            denc=DescriptorEncoder(p.channels, p.descriptor_hidden),
            attn_proj=CrossBoosting(p.channels, p.num_layers, attention="aft", dropout=0.0),
            activation="tanh" if p.binary else "none",
            l2_normalise=not p.binary,
        )

    def forward(
        self,
        descriptors: Float[Tensor, "B K D"],
        keypoints: Float[Tensor, "B K G"],
        mask: Bool[Tensor, "B K"] | None,
    ) -> Float[Tensor, "B K E"]:
        """Boost the descriptors of images; ``keypoints`` come normalised, ``mask`` is False at padding."""
        boosted = descriptors + self.denc(descriptors)
        if self.kenc is not None:
            boosted = boosted + self.kenc(keypoints)
        if self.attn_proj is not None:
            boosted = self.attn_proj(self.layer_norm(boosted), mask)
        boosted = self.activation(self.final_proj(boosted))
        return F.normalize(boosted, dim=-1) if self.l2_normalise else boosted


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


class Unboosted(nn.Module):
    """The backbone's descriptors as they are: what a tracker without a booster has in its place."""

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """The pyramid that came in."""
        return pyramid


class GridBooster(nn.Module):
    """A booster inside the tracker: its set is all cells of one level of one frame, so points stay apart.

    The correction starts at zero, so training starts from the backbone's own map. ``booster`` takes (x, y) as
    keypoints, keeps the number of channels and must not normalise.
    """

    def __init__(self, booster: FeatureBooster, level: int) -> None:
        super().__init__()
        self.booster = booster
        self.level = level
        nn.init.zeros_(booster.final_proj.weight)
        nn.init.zeros_(booster.final_proj.bias)

    def forward(self, pyramid: FeaturePyramid) -> FeaturePyramid:
        """The pyramid with one level boosted; cells beyond the frame are masked."""
        levels = list(pyramid.levels)
        levels[self.level] = self._boost(levels[self.level], pyramid.height, pyramid.width)
        return replace(pyramid, levels=tuple(levels))

    def _boost(self, level: FeatureLevel, height: int, width: int) -> FeatureLevel:
        batch, _, rows, columns = level.map.shape
        grid = Grid(rows=rows, columns=columns, stride=level.stride, offset=level.offset)
        centres = cell_centres(grid, level.map.device)
        inside = (centres < centres.new_tensor([width, height])).all(-1)
        keypoints = normalise_keypoints(centres, height, width)
        update = self.booster(
            rearrange(level.map, "b c h w -> b (h w) c"),
            keypoints.expand(batch, -1, -1),
            inside.expand(batch, -1),
        )
        update = rearrange(update, "b (h w) c -> b c h w", h=rows)
        return replace(level, map=F.normalize(level.map + update.float(), dim=1))


def normalise_keypoints(xy: Float[Tensor, "*B 2"], height: int, width: int) -> Float[Tensor, "*B 2"]:
    """Positions (px) as the booster reads them: relative to the image's centre and longer side."""
    centre = xy.new_tensor([width / 2, height / 2])
    return (xy - centre) / (KEYPOINT_SPAN * max(height, width))


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
