"""Attention with three back ends (full, linear, flash), and two ways to tell it where tokens lie."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.models.layers.kernels import AUTO, PACKAGE, attend, check_known

Mask = Bool[Tensor, "#B #h #L S"]
# Where tokens lie: cosines and sines that turn queries and keys, or an encoding that is added.
Place = tuple[Tensor, Tensor] | Tensor


def full(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None, kernel: str = AUTO) -> Tensor:
    """Soft-max attention; ``mask`` is True where a query may look. All of shape B h L d."""
    return attend(q, k, v, mask, kernel)


def linear(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
    """Feature map elu + 1 (Katharopoulos et al. 2020): cost grows with L + S instead of L * S."""
    with torch.autocast(q.device.type, enabled=False):  # sums over all tokens need their digits
        q, k = F.elu(q.float()) + 1, F.elu(k.float()) + 1
        if mask is not None:
            k = k * mask.transpose(-1, -2)  # one mask for all queries: B h 1 S -> B h S 1
        context = torch.einsum("bhsd,bhse->bhde", k, v.float())
        total = torch.einsum("bhld,bhd->bhl", q, k.sum(-2))
        return (torch.einsum("bhld,bhde->bhle", q, context) / (total[..., None] + 1e-6)).to(v.dtype)


def flash(q: Tensor, k: Tensor, v: Tensor, mask: Mask | None) -> Tensor:
    """The flash-attn package's kernel where it can compute (half precision, no mask), else torch's choice."""
    return attend(q, k, v, mask, AUTO if q.dtype == torch.float32 else PACKAGE)


BACKENDS: dict[str, Callable[..., Tensor]] = {"full": full, "linear": linear, "flash": flash}


def rope_angles(
    positions: Float[Tensor, "*B A"], dim: int, longest: float
) -> tuple[Float[Tensor, "*B D"], Float[Tensor, "*B D"]]:
    """Cosines and sines that turn ``dim`` channels by positions on A axes (RoPE, Su et al. 2021).

    The slowest channel pair turns once over ``longest``; positions are in the same unit. D = dim / 2.
    """
    axes = positions.shape[-1]
    pairs = dim // (2 * axes)
    steps = torch.arange(pairs, device=positions.device, dtype=torch.float32) / max(pairs - 1, 1)
    frequency = 2 * torch.pi / longest * (longest / 4) ** steps  # from one turn to a turn every 4 units
    angles = (positions.float()[..., None] * frequency).flatten(-2)
    return angles.cos(), angles.sin()


def sine_encoding(positions: Float[Tensor, "*B A"], dim: int, longest: float) -> Float[Tensor, "*B C"]:
    """Positions as ``dim`` cosines and sines, to be added to tokens (LoFTR, Sun et al. 2021).

    The product of two encodings depends on how far apart they are, and on nothing else.
    """
    return torch.cat(rope_angles(positions, dim, longest), dim=-1)


def rotate(
    x: Float[Tensor, "*B D2"], turn: tuple[Float[Tensor, "*#B D"], Float[Tensor, "*#B D"]]
) -> Float[Tensor, "*B D2"]:
    """Turn the channel pairs of ``x`` by angles from ``rope_angles``."""
    cos, sin = (t.to(x.dtype) for t in turn)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of ``x`` to ``context``; its output layer starts at zero."""

    def __init__(self, dim: int, heads: int, backend: str) -> None:
        super().__init__()
        if backend not in BACKENDS:
            raise ValueError(f"attention backend {backend!r} is unknown; choose from {sorted(BACKENDS)}")
        if dim % (4 * heads):
            raise ValueError(f"attention of {dim} channels needs {dim} divisible by 4 x {heads} heads")
        self.heads, self.backend = heads, backend
        self.kernel = AUTO  # of backend full; not a part of the net: what computes it differs by machine
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = zero_init(nn.Linear(dim, dim))

    def forward(
        self,
        x: Float[Tensor, "B L C"],
        keys: Float[Tensor, "B h S d"],
        values: Float[Tensor, "B h S d"],
        mask: Bool[Tensor, "B S"] | None = None,
        turn: Place | None = None,
    ) -> Float[Tensor, "B L C"]:
        """Attend to a context of which ``mask`` may be seen; ``turn``: where x lies, L by d/2 or C."""
        q = rearrange(self.query(_placed(x, turn)), "b l (h d) -> b h l d", h=self.heads)
        seen = None if mask is None else mask[:, None, None]
        backend = partial(full, kernel=self.kernel) if self.backend == "full" else BACKENDS[self.backend]
        found = backend(_turned(q, turn), keys, values, seen)
        return self.out(rearrange(found, "b h l d -> b l (h d)"))

    def look_up(
        self, context: Float[Tensor, "B S C"], turn: Place | None = None
    ) -> tuple[Float[Tensor, "B h S d"], Float[Tensor, "B h S d"]]:
        """Keys and values of a context, told where it lies: the same for whoever attends to it."""
        k, v = rearrange(
            self.key_value(_placed(context, turn)), "b s (two h d) -> two b h s d", two=2, h=self.heads
        )
        return _turned(k, turn), v


def choose_kernel(net: nn.Module, kernel: str) -> None:
    """Let one kernel compute all attention of ``backend: full`` in a net, where there is no mask."""
    check_known(kernel)
    for module in net.modules():
        if isinstance(module, Attention):
            module.kernel = kernel


class Block(nn.Module):
    """Pre-norm transformer block whose residuals start at zero: at first it changes nothing."""

    def __init__(self, dim: int, heads: int, expansion: int, backend: str) -> None:
        super().__init__()
        self.norm, self.norm_context = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, backend)
        self.mlp = mlp(dim, expansion * dim, dim)

    def forward(
        self,
        x: Float[Tensor, "B L C"],
        context: Float[Tensor, "B S C"],
        mask: Bool[Tensor, "B S"] | None = None,
        turn: Place | None = None,
    ) -> Float[Tensor, "B L C"]:
        """``mask``: what of the context may be seen; ``turn``: where x and the context lie."""
        return self.attend(x, self.look_up(context, turn), mask, turn)

    def look_up(
        self, context: Float[Tensor, "B S C"], turn: Place | None = None
    ) -> tuple[Float[Tensor, "B h S d"], Float[Tensor, "B h S d"]]:
        """Keys and values of a context, for ``attend``."""
        return self.attention.look_up(self.norm_context(context), turn)

    def attend(
        self,
        x: Float[Tensor, "B L C"],
        context: tuple[Tensor, Tensor],
        mask: Bool[Tensor, "B S"] | None = None,
        turn: Place | None = None,
    ) -> Float[Tensor, "B L C"]:
        """As ``forward``, given what ``look_up`` made of the context, which may serve many."""
        x = x + self.attention(self.norm(x), *context, mask, turn)
        return x + self.mlp(x)


def _turned(x: Float[Tensor, "B h L d"], turn: Place | None) -> Float[Tensor, "B h L d"]:
    return rotate(x, tuple(t.unsqueeze(-3) for t in turn)) if isinstance(turn, tuple) else x


def _placed(x: Float[Tensor, "B L C"], turn: Place | None) -> Float[Tensor, "B L C"]:
    return x + turn.to(x.dtype) if isinstance(turn, Tensor) else x


def mlp(channels: int, hidden: int, out: int) -> nn.Sequential:
    """LayerNorm, two layers, the last of them zero: for residuals and for heads that start neutral."""
    return nn.Sequential(
        nn.LayerNorm(channels), nn.Linear(channels, hidden), nn.GELU(), zero_init(nn.Linear(hidden, out))
    )


def zero_init(layer: nn.Linear) -> nn.Linear:
    """Make a layer output zeros until it is trained."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
