"""FeatureBooster (CVPR 2023): the descriptors of one image, rewritten in the light of each other."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from retracker.geometry.coords import cell_centres
from retracker.models.booster_presets import find_preset
from retracker.models.layers.cross_boosting import (
    NORM_EPS,
    CrossBoosting,
    DescriptorEncoder,
    KeypointEncoder,
)
from retracker.types import FeatureLevel, FeaturePyramid, Grid, LocalFeatures

KEYPOINT_SPAN = 0.7  # released networks see (x - W/2) / (0.7 max(H, W)), likewise y


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
        """An untrained network of a released shape, e.g. ``SIFT+Boost-F``, with nothing ablated."""
        return build_booster(name, keypoint_encoder=True, cross_boosting=True, attention="aft", dropout=0.0)

    @property
    def binary(self) -> bool:
        """Whether the signs of its outputs are the descriptor, for Hamming distance."""
        return isinstance(self.activation, nn.Tanh)

    def forward(
        self,
        descriptors: Float[Tensor, "B K D"],
        keypoints: Float[Tensor, "B K G"],
        mask: Bool[Tensor, "B K"] | None,
    ) -> Float[Tensor, "B K E"]:
        """Boost the descriptors of images; ``keypoints`` come normalised, ``mask`` is False at padding."""
        if mask is not None:  # no weight in a sum, however small, makes a number of NaN
            descriptors = descriptors.masked_fill(~mask[..., None], 0.0)
            keypoints = keypoints.masked_fill(~mask[..., None], 0.0)
        boosted = descriptors + self.denc(descriptors)
        if self.kenc is not None:
            boosted = boosted + self.kenc(keypoints)
        if self.attn_proj is not None:
            boosted = self.attn_proj(self.layer_norm(boosted), mask)
        boosted = self.activation(self.final_proj(boosted))
        return F.normalize(boosted, dim=-1) if self.l2_normalise else boosted


def build_booster(
    preset: str, keypoint_encoder: bool, cross_boosting: bool, attention: str, dropout: float
) -> FeatureBooster:
    """An untrained network by the name of its shape, e.g. ``SIFT+Boost-F``, and what the paper ablates.

    ``attention`` is ``aft`` as released, or ``mha``. Raises ValueError for unknown names.
    """
    p = find_preset(preset)
    return FeatureBooster(
        channels=p.channels,
        out_channels=p.out_channels,
        kenc=KeypointEncoder(p.keypoint_size, p.keypoint_hidden, p.channels, dropout)
        if keypoint_encoder
        else None,
        denc=DescriptorEncoder(p.channels, p.descriptor_hidden),
        attn_proj=CrossBoosting(p.channels, p.num_layers, attention, dropout) if cross_boosting else None,
        activation="tanh" if p.binary else "none",
        l2_normalise=not p.binary,
    )


def boost(booster: FeatureBooster, features: LocalFeatures) -> Float[Tensor, "*B K E"]:
    """The boosted descriptors of images: unit vectors, or of a binary booster numbers whose signs are bits.

    What stands at keypoints that are not present means nothing. Raises ValueError for descriptors or geometry
    of another width than the booster's, and for descriptors or keypoints that are not finite.
    """
    _check(booster, features)
    descriptors, keypoints, present = booster_inputs(features)
    if features.xy.ndim == 3:
        return booster(descriptors, keypoints, present)
    return booster(descriptors[None], keypoints[None], present[None])[0]


def booster_inputs(
    features: LocalFeatures,
) -> tuple[Float[Tensor, "*B K D"], Float[Tensor, "*B K G"], Bool[Tensor, "*B K"]]:
    """Features as a booster reads them: descriptors, normalised position beside geometry, which are there."""
    keypoints = torch.cat([normalise_keypoints(features.xy, features.size), features.geometry], dim=-1)
    return features.descriptors, keypoints, features.present


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
        keypoints = normalise_keypoints(centres, torch.tensor([height, width], device=centres.device))
        update = self.booster(
            rearrange(level.map, "b c h w -> b (h w) c"),
            keypoints.expand(batch, -1, -1),
            inside.expand(batch, -1),
        )
        update = rearrange(update, "b (h w) c -> b c h w", h=rows)
        return replace(level, map=F.normalize(level.map + update.float(), dim=1))


def normalise_keypoints(xy: Float[Tensor, "*B K 2"], size: Int[Tensor, "*B 2"]) -> Float[Tensor, "*B K 2"]:
    """Positions (px) as the booster reads them: relative to the centre and longer side of images (H, W)."""
    size = size[..., None, :].to(xy.dtype)  # *B 1 2
    return (xy - size.flip(-1) / 2) / (KEYPOINT_SPAN * size.amax(-1, keepdim=True))


def _check(booster: FeatureBooster, features: LocalFeatures) -> None:
    width, came = booster.denc.encoder[0].in_features, features.descriptors.shape[-1]
    if came != width:
        raise ValueError(f"expected descriptors of {width} numbers, as this booster reads, got {came}")
    if booster.kenc is not None:
        width, came = booster.kenc.encoder[0].in_features - 2, features.geometry.shape[-1]
        if came != width:
            raise ValueError(
                f"expected {width} numbers of geometry per keypoint, as this booster reads, got {came}"
            )
    for what in ("descriptors", "geometry", "xy"):
        broken = ~getattr(features, what).isfinite().all(-1) & features.present
        if broken.any():  # one alone would spread over its whole image
            raise ValueError(
                f"{what} of {int(broken.sum())} of {int(features.present.sum())} keypoints are not finite"
            )
