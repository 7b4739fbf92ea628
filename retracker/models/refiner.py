"""Move every estimate, level by level, by what a local 4-D correlation and the point's own past say.

PIPs (Harley et al. 2022) iterates over a window of frames; here only the past is seen, through cached keys
and values (as in causal language models), and correlation is 4-D: template patch against target patch, as in
LocoTrack (Cho et al. 2024).
"""

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import patch_offsets, windows
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
        if min(iterations, default=0) < 1:
            raise ValueError(f"refiner.iterations: expected 1 or more for each level, got {iterations}")
        if heads < 1:
            raise ValueError(f"refiner.heads: expected 1 or more, got {heads}")
        if dim % (2 * heads):
            raise ValueError(f"refiner.dim: expected a multiple of 2 x {heads} heads, got {dim}")
        self.iterations, self.dim, self.template_radius = iterations, dim, template_radius
        self.memory_size = memory_size
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
        self.areas = (2 * template_radius + 1) ** 2, (2 * target_radius + 1) ** 2
        volume = self.areas[0] * self.areas[1]
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
    ) -> tuple[Tensor, Tensor, Float[Tensor, "B N F h d"], Float[Tensor, "B N F h d"], Bool[Tensor, "B N F"]]:
        """What stays the same through a frame's iterations: patches, their layer, cached keys and values."""
        memory = state.memory
        held = memory.patches[index].float()
        patches = torch.cat([state.templates[index][:, :, None], held], dim=2).flatten(2, 3)
        layer = rearrange(self.embed, "m (p s) d -> (s m p) d", p=self.areas[0])
        keys, values = (ring.float().unflatten(-1, (self.heads, -1)) for ring in rings)
        age = torch.arange(1, keys.shape[2] + 1, device=keys.device, dtype=torch.float32)
        keys = rotate(keys, rope_angles(age[:, None, None], keys.shape[-1], longest=4.0 * keys.shape[2]))
        return patches, layer, keys, values, memory.filled > 0

    def forward(
        self,
        state: TrackState,
        level: FeatureLevel,
        estimate: Estimate,
        above: Float[Tensor, "B N D"],
        context: tuple[Tensor, ...],
    ) -> tuple[Float[Tensor, "B N D"], Estimate, Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
        """One iteration: the token, the corrected estimate, and the key and value to remember."""
        patches, layer, *past = context
        seen = correlation(patches, level, estimate.xy, self.target_radius) @ layer
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
        """Attend to this point's own tokens of the last frames, and to the present one (age 0: no turn).

        One query and a dozen keys: products and sums need less time than an attention kernel's preparations.
        """
        keys, values, filled = past
        query, key, value = self.query_key_value(self.norm(token)).chunk(3, dim=-1)
        q, k, v = (x.float().unflatten(-1, (self.heads, -1))[:, :, None] for x in (query, key, value))
        q = q * q.shape[-1] ** -0.5
        of_past = (q * keys).sum(-1).masked_fill(~filled[..., None], float("-inf"))  # B N F h
        weight = torch.cat([(q * k).sum(-1), of_past], dim=2).softmax(2)[..., None]
        found = (weight[:, :, :1] * v + (weight[:, :, 1:] * values).sum(2, keepdim=True)).flatten(2)
        return self.attended(found), key, value


def correlation(
    patches: Float[Tensor, "B N P C"], level: FeatureLevel, xy: Float[Tensor, "B N 2"], radius: int
) -> Float[Tensor, "B N volume"]:
    """Every cell of some patches against every cell of the square patch of a frame around ``xy`` (px).

    Ordered by the frame's cells, row by row, then by ``P``. Whole cells are compared, and their likenesses
    interpolated: the same as comparing interpolated cells, with fewer numbers to interpolate.
    """
    around, fraction = windows(level, xy, radius)
    likeness = (around.flatten(2, 3) @ patches.mT).unflatten(2, around.shape[2:4])
    across, down = fraction[..., None, None, None].to(likeness.dtype).unbind(2)
    likeness = torch.lerp(likeness[:, :, :-1], likeness[:, :, 1:], down)
    return torch.lerp(likeness[:, :, :, :-1], likeness[:, :, :, 1:], across).flatten(2)


def fourier(x: Float[Tensor, "*B A"]) -> Float[Tensor, "*B features"]:
    """Sines and cosines of displacements in cells; wavelengths 2, 4, 8 ... cells."""
    bands = torch.pi / 2 ** torch.arange(NUM_BANDS, device=x.device, dtype=torch.float32)
    angle = x.float().clamp(-REACH, REACH)[..., None] * bands
    return torch.cat([angle.sin(), angle.cos()], dim=-1).flatten(-2)
