"""A clip, frame by frame: all that is given of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from retracker.types import FeaturePyramid, Noise


@dataclass(frozen=True, kw_only=True)
class Moment:
    """All that is given of one frame."""

    features: FeaturePyramid
    born: Bool[Tensor, "B N"]
    any_born: bool
    noise: Noise | None
    seen: Bool[Tensor, "B N"] | None
    cut: bool  # whether no gradient flows back from here


def moments(
    features: Sequence[FeaturePyramid],
    birth: Int[Tensor, "B N"],
    noise: Noise | None,
    seen: Bool[Tensor, "B T N"] | None,
    detach_after: int,
) -> list[Moment]:
    """The moments of a clip, whose points are born in frame ``birth``."""
    born = birth == torch.arange(len(features), device=birth.device)[:, None, None]  # T B N
    # Asked once for all frames: the host waits for a GPU wherever it looks at a number.
    any_born = born.flatten(1).any(1).tolist()
    return [
        Moment(
            features=features[t],
            born=born[t],
            any_born=any_born[t],
            noise=None if noise is None else noise.map(lambda x, t=t: x[:, t]),
            seen=None if seen is None else seen[:, t],
            cut=bool(t and detach_after and t % detach_after == 0),
        )
        for t in range(len(features))
    ]
