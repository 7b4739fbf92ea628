"""Move every estimate, level by level, by what a local 4-D correlation and the point's own past say.

PIPs (Harley et al. 2022) iterates over a window of frames; here only the past is seen, through cached keys
and values (as in causal language models), and correlation is 4-D: template patch against target patch, as in
LocoTrack (Cho et al. 2024).
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import patch_offsets, sample_patches
from retracker.models.layers.attention import mlp, rope_angles, rotate, zero_init
from retracker.types import Estimate, FeatureLevel, FeaturePyramid, TrackState

NUM_BANDS = 6  # Fourier features of displacements: wavelengths from 2 to 64 cells
REACH = 16.0  # cells: displacements are clamped here before they are encoded


class Refiner(nn.Module):
    """All levels, coarse to fine, each for its number of iterations."""

    def __init__(
        self,
        iterations: list[int],
        dim: int,
        heads: int,
        template_radius: int,
        target_radius: int,
        memory_size: int,
        dense: bool,
    ) -> None:
        super().__init__()
        self.iterations, self.dim, self.template_radius = iterations, dim, template_radius
        self.levels = nn.ModuleList(
            RefinerLevel(dim, heads, template_radius, target_radius, memory_size) for _ in iterations
        )
        self.hand_down = nn.ModuleList(zero_init(nn.Linear(dim, dim)) for _ in iterations[1:])
        self.level_of_iteration = tuple(i for i, num in enumerate(iterations) for _ in range(num))
        area = (2 * template_radius + 1) ** 2
        self.spread = mlp(dim, dim, 2 * area) if dense else None

    def forward(
        self, state: TrackState, features: FeaturePyramid, start: Estimate
    ) -> tuple[tuple[Estimate, ...], Float[Tensor, "B N L D"], Float[Tensor, "B N L D"], Tensor]:
        """Estimates after every iteration; keys and values to remember of each level; the last token."""
        token = above = start.xy.new_zeros(*start.xy.shape[:2], self.dim)
        estimate, estimates, keys, values = start, [], [], []
        rings = (state.memory.keys.unbind(2), state.memory.values.unbind(2))
        for index, (part, num) in enumerate(zip(self.levels, self.iterations, strict=True)):
            context = part.remembered(state, index, [ring[index] for ring in rings])
            above = self.hand_down[index - 1](token) if index else above
            for _ in range(num):
                # Detach: an iteration must not move the estimate it starts from (RAFT, Teed & Deng 2020).
                estimate = estimate.detach()
                token, estimate, key, value = part(state, features.levels[index], estimate, above, context)
                estimates.append(estimate)
            keys.append(key)
            values.append(value)
        return tuple(estimates), torch.stack(keys, dim=2), torch.stack(values, dim=2), token

    def dense(self, token: Float[Tensor, "B N D"], level: FeatureLevel) -> dict[str, Tensor]:
        """Semi-dense flow: where the pixels around the query are now, in px from the point itself."""
        if self.spread is None:
            return {}
        offsets = patch_offsets(self.template_radius, token.device) * level.stride
        with torch.autocast(token.device.type, enabled=False):
            change = self.spread(token.float()).unflatten(-1, (-1, 2)) * level.stride
        return {"dense": offsets + change, "dense_offsets": offsets}


class RefinerLevel(nn.Module):
    """One feature level: correlate, look back in time, correct."""

    def __init__(
        self, dim: int, heads: int, template_radius: int, target_radius: int, memory_size: int
    ) -> None:
        super().__init__()
        self.heads, self.target_radius = heads, target_radius
        volume = (2 * template_radius + 1) ** 2 * (2 * target_radius + 1) ** 2
        # The template and each memory slot have layers of their own: a sum of them is one layer on them all.
        self.embed = nn.Parameter(torch.empty(1 + memory_size, volume, dim))
        nn.init.trunc_normal_(self.embed, std=volume**-0.5)
        # Two displacements and the velocity in Fourier features; 4 logits; gates of the memory slots.
        self.motion = nn.Linear(3 * 2 * 2 * NUM_BANDS + 4 + memory_size, dim)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attended = zero_init(nn.Linear(dim, dim))
        self.think = mlp(dim, 2 * dim, dim)
        self.norm_out = nn.LayerNorm(dim)
        self.head = zero_init(nn.Linear(dim, 4))

    def remembered(
        self, state: TrackState, index: int, rings: list[Float[Tensor, "B N F D"]]
    ) -> tuple[Tensor, Tensor, Float[Tensor, "BN h F d"], Float[Tensor, "BN h F d"], Bool[Tensor, "BN F"]]:
        """What stays the same through a frame's iterations: patches with gates, cached keys and values."""
        memory = state.memory
        usable = memory.gate > 0
        patches = torch.cat([state.templates[index][:, :, None], memory.patches[index].float()], dim=2)
        gate = F.pad(usable.to(patches.dtype), (1, 0), value=1.0)
        keys, values = (rearrange(ring.float(), "b n f (h d) -> (b n) h f d", h=self.heads) for ring in rings)
        age = torch.arange(1, keys.shape[2] + 1, device=keys.device, dtype=torch.float32)
        keys = rotate(keys, rope_angles(age[:, None], keys.shape[-1], longest=4.0 * keys.shape[2]))
        return patches, gate, keys, values, memory.filled.flatten(0, 1) > 0

    def forward(
        self,
        state: TrackState,
        level: FeatureLevel,
        estimate: Estimate,
        above: Float[Tensor, "B N D"],
        context: tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, "B N D"], Estimate, Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
        """One iteration: the token, the corrected estimate, and the key and value to remember."""
        patches, gate, *past = context
        target = sample_patches(level, estimate.xy, self.target_radius)  # B N S C
        volume = torch.einsum("bnmpc,bnsc->bnmps", patches, target) * gate[..., None, None]
        seen = torch.einsum("bnmv,mvd->bnd", volume.flatten(3), self.embed)
        token = self.mix(seen + self.motion(self._motion(state, level, estimate)) + above)
        attended, key, value = self._look_back(token, past)
        token = token + attended
        token = token + self.think(token)
        with torch.autocast(token.device.type, enabled=False):  # 201.3 px in bf16 is 201
            change = self.head(self.norm_out(token.float()))
        found = Estimate(
            xy=estimate.xy + level.stride * change[..., :2],
            certainty=estimate.certainty + change[..., 2],
            occlusion=estimate.occlusion + change[..., 3],
        )
        return token, found, key, value

    def _motion(
        self, state: TrackState, level: FeatureLevel, estimate: Estimate
    ) -> Float[Tensor, "B N features"]:
        """How far the point has moved, how fast it was, and how sure we are."""
        moved = estimate.xy - state.last.xy
        away = torch.stack([moved, state.velocity, moved - state.velocity], dim=-2) / level.stride
        beliefs = (estimate.certainty, estimate.occlusion, state.last.certainty, state.last.occlusion)
        logits = torch.stack(beliefs, dim=-1).sigmoid()
        return torch.cat([fourier(away).flatten(2), logits, state.memory.gate], dim=-1)

    def _look_back(
        self, token: Float[Tensor, "B N D"], past: list[Tensor]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
        """Attend to this point's own tokens of the last frames, and to the present one (age 0: no turn)."""
        keys, values, filled = past
        query, key, value = self.query_key_value(self.norm(token)).chunk(3, dim=-1)
        q, k, v = (rearrange(x, "b n (h d) -> (b n) h 1 d", h=self.heads) for x in (query, key, value))
        seen = F.pad(filled, (1, 0), value=True)[:, None, None]
        found = F.scaled_dot_product_attention(
            q, torch.cat([k, keys.to(k.dtype)], dim=2), torch.cat([v, values.to(v.dtype)], dim=2), seen
        )
        attended = rearrange(found, "(b n) h 1 d -> b n (h d)", b=token.shape[0])
        return self.attended(attended), key, value


def fourier(x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B features"]:
    """Sines and cosines of displacements in cells; wavelengths 2, 4, 8 ... cells."""
    bands = torch.pi / 2 ** torch.arange(NUM_BANDS, device=x.device, dtype=torch.float32)
    angle = x.float().clamp(-REACH, REACH)[..., None] * bands
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)
