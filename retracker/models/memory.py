"""What each point remembers: rings of fixed capacity, so that cost does not grow with the video."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import sample, sample_patches
from retracker.types import FeaturePyramid, TemporalMemory


class Memory(nn.Module):
    """How a ``TemporalMemory`` is made, written and read; holds policy, no weights.

    ``period`` 1 keeps the latest slots ("foremost"). With a larger period slot m moves on only at every
    period**m-th write, so that slots cover recent and long past ("balanced").
    """

    def __init__(
        self,
        size: int,
        context: int,
        period: int,
        write_threshold: float,
        drop: float,
        replace: float,
        replace_px: float,
    ) -> None:
        super().__init__()
        if size < 0 or context < 1 or period < 1:
            raise ValueError(
                f"memory: expected size >= 0, context and period >= 1, got {size}, {context} and {period}"
            )
        self.size, self.context, self.period = size, context, period
        self.write_threshold = write_threshold
        self.drop, self.replace, self.replace_px = drop, replace, replace_px

    def empty(
        self, templates: tuple[Tensor, ...], token: Float[Tensor, "B N C"], dim: int, levels: int
    ) -> TemporalMemory:
        """A memory with nothing in it, of the shapes that templates and tokens will need."""
        batch, points, device = *token.shape[:2], token.device
        # Half precision only with the rest of a mixed-precision run: where a value lies between two bf16
        # numbers, rounding noise of 1e-7 becomes 4e-3, and a point alone would drift from one among others.
        dtype = torch.bfloat16 if torch.is_autocast_enabled(device.type) else torch.float32
        ring = torch.zeros(batch, points, levels, self.context, dim, dtype=dtype, device=device)
        return TemporalMemory(
            patches=tuple(
                torch.zeros_like(t, dtype=dtype)[:, :, None].repeat(1, 1, self.size, 1, 1) for t in templates
            ),
            tokens=torch.zeros_like(token)[:, :, None].repeat(1, 1, self.size, 1),
            gate=torch.zeros(batch, points, self.size, device=device),
            written=torch.zeros(batch, points, dtype=torch.long, device=device),
            keys=ring,
            values=ring,
            filled=torch.zeros(batch, points, self.context, device=device),
        )

    def write(
        self,
        memory: TemporalMemory,
        features: FeaturePyramid,
        xy: Float[Tensor, "B N 2"],
        sure: Float[Tensor, "B N"],
        radius: int,
    ) -> TemporalMemory:
        """Store what is seen at ``xy`` (px) for points whose ``sure`` (in [0, 1]) passes the threshold."""
        keep = sure > self.write_threshold
        moves = self._moves(memory, keep)
        patches = tuple(
            shift(ring, sample_patches(level, xy, radius).to(ring.dtype), moves)
            for ring, level in zip(memory.patches, features.levels, strict=True)
        )
        return replace(
            memory,
            patches=patches,
            tokens=shift(memory.tokens, sample(features.matching, xy).to(memory.tokens.dtype), moves),
            gate=shift(memory.gate, sure, moves),
            written=memory.written + keep,
        )

    def _moves(self, memory: TemporalMemory, keep: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N M"]:
        """Which slots take over from the one before them when a point writes."""
        turn = self.period ** torch.arange(self.size, device=keep.device)
        return keep[..., None] & (memory.written[..., None] % turn == 0)

    def forget(self, memory: TemporalMemory, drop: Float[Tensor, "B N"]) -> TemporalMemory:
        """Training noise: hide one slot of a point in the share ``self.drop`` of all frames."""
        slot = (drop / self.drop * self.size).long()  # beyond the last slot: nothing is hidden
        hidden = slot[..., None] == torch.arange(self.size, device=drop.device)
        return replace(
            memory,
            gate=memory.gate.masked_fill(hidden, 0.0),
            patches=tuple(x.masked_fill(hidden[..., None, None], 0.0) for x in memory.patches),
        )

    def misplace(
        self, xy: Float[Tensor, "B N 2"], drop: Float[Tensor, "B N"], jitter: Float[Tensor, "B N 2"]
    ) -> Float[Tensor, "B N 2"]:
        """Training noise: in the share ``self.replace`` of all writes, remember a place nearby instead."""
        wrong = (1 - drop) < self.replace
        return torch.where(wrong[..., None], xy + self.replace_px * jitter, xy)


def push_context(
    memory: TemporalMemory,
    keys: Float[Tensor, "B N L D"],
    values: Float[Tensor, "B N L D"],
    alive: Bool[Tensor, "B N"],
) -> TemporalMemory:
    """Append this frame's keys and values of the refiner to every point's ring, newest first.

    Only those of living points are marked as filled: before its birth a point has no past.
    """

    def push(ring: Tensor, new: Tensor) -> Tensor:
        return torch.cat([new[:, :, :, None].to(ring.dtype), ring[:, :, :, :-1]], dim=3)

    return replace(
        memory,
        keys=push(memory.keys, keys),
        values=push(memory.values, values),
        filled=torch.cat([alive[..., None].to(memory.filled.dtype), memory.filled[..., :-1]], dim=-1),
    )


def shift(ring: Tensor, new: Tensor, moves: Bool[Tensor, "B N M"]) -> Tensor:
    """Let slot 0 take ``new`` and every slot m take slot m - 1, where ``moves``; others stay. (B N M ...)"""
    moved = torch.cat([new[:, :, None], ring[:, :, :-1]], dim=2)
    return torch.where(moves.reshape(*moves.shape, *[1] * (ring.ndim - 3)), moved, ring)


def bytes_per_point(memory: TemporalMemory) -> int:
    """How many bytes one point's memory takes, whatever the length of the video."""
    tensors: list[Tensor] = []
    memory.map(lambda x: tensors.append(x) or x)
    points = memory.gate.shape[0] * memory.gate.shape[1]
    return sum(t.numel() * t.element_size() for t in tensors) // points
