"""Random numbers for drawing scenes: always on the CPU, always from one seed."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

Choice = TypeVar("Choice")


class Dice:
    """A seeded source of numbers, with the few distributions that drawing a scene needs."""

    def __init__(self, *seeds: int) -> None:
        self.rng = torch.Generator().manual_seed(mixed(*seeds))

    def uniform(self, low: float | int, high: float | int) -> float:
        return low + (high - low) * torch.rand((), generator=self.rng).item()

    def uniforms(self, count: int, low: float | int, high: float | int) -> Float[Tensor, " N"]:
        return low + (high - low) * torch.rand(count, generator=self.rng)

    def normals(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.rng)

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.rng))

    def chance(self, probability: float) -> bool:
        return self.uniform(0.0, 1.0) < probability

    def sign(self) -> float:
        return 1.0 if self.chance(0.5) else -1.0

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[self.integer(0, len(choices) - 1)]


def mixed(*seeds: int) -> int:
    """One well-spread 63-bit seed from several whole numbers (splitmix64, chained)."""
    state = 0
    for seed in seeds:
        state = (state ^ (seed & 0xFFFFFFFFFFFFFFFF)) + 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
