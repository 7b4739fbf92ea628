"""What several teachers' testimonies come to: a label where enough of them agree, and nothing elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.labelling.testimony import Testimony
from retracker.types import TensorStruct


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How many teachers must say the same of a point in a frame, and for how long."""

    agree_px: float  # at 256 scale: how far from the median of those that were verified a teacher may be
    quorum: int  # so many must be that close; and they must outnumber the verified ones that are not
    least_frames: int  # a point with a place in fewer frames, its query included, is left out

    def __post_init__(self) -> None:
        if self.agree_px <= 0 or self.quorum < 1 or self.least_frames < 2:
            raise ValueError(
                "expected agreement within more than 0 px, a quorum of at least 1 and 2 frames or more, "
                f"got {self.agree_px}, {self.quorum} and {self.least_frames}"
            )


@dataclass(frozen=True, kw_only=True)
class Labels(TensorStruct):
    """Pseudo-labels of a clip, as a VideoSample has them. A point that is located is visible."""

    tracks: Float[Tensor, "T N 2"]  # px; 0 where not located
    visible: Bool[Tensor, "T N"]
    labelled: Bool[Tensor, "T N"]
    located: Bool[Tensor, "T N"]


FATES = ("kept", "unseen", "no way back", "too few", "disputed", "short")


def agree(testimonies: Sequence[Testimony], rule: Agreement, scale: float) -> tuple[Labels, dict[str, int]]:
    """The labels of all points, and what became of each of the T x N places: counts by FATES.

    ``scale`` is px of the clip per px at 256 scale. "unseen": no teacher sees the point; "no way back": none
    that does was verified; "too few": fewer than the quorum were; "disputed": they do not agree; "short": the
    point has too few places. Points that are left out are located nowhere.
    """
    claims = torch.stack([t.verified for t in testimonies])  # K T N
    tracks = torch.stack([t.tracks for t in testimonies]).float()
    median = tracks.masked_fill(~claims[..., None], torch.nan).nanquantile(0.5, dim=0)
    near = claims & ((tracks - median).norm(dim=-1) <= rule.agree_px * scale)
    votes, against = near.sum(0), (claims & ~near).sum(0)
    located = (votes >= rule.quorum) & (votes > against)
    mean = (tracks * near[..., None]).sum(0) / votes.clamp(min=1)[..., None]
    lasting = located.sum(0) >= rule.least_frames
    kept = located & lasting
    hidden = torch.stack([t.hidden for t in testimonies]).sum(0) >= rule.quorum
    hidden = hidden & ~claims.any(0) & enclosed(kept)
    labels = Labels(
        tracks=torch.where(kept[..., None], mean, 0.0), visible=kept, labelled=kept | hidden, located=kept
    )
    seen = torch.stack([t.seen for t in testimonies]).any(0)
    return labels, _fates(seen, claims.sum(0), (located, lasting), rule.quorum)


def enclosed(located: Bool[Tensor, "T N"]) -> Bool[Tensor, "T N"]:
    """Where a point has been located before and will be again: what is hidden there was not lost."""
    before = located.int().cummax(0).values > 0
    after = located.flip(0).int().cummax(0).values.flip(0) > 0
    return before & after & ~located


def _fates(
    seen: Bool[Tensor, "T N"],
    claims: Tensor,  # T N, how many teachers were verified
    found: tuple[Tensor, Tensor],  # T N located, N lasting
    quorum: int,
) -> dict[str, int]:
    located, lasting = found
    left = torch.ones_like(located)
    counts = {}
    for name, mask in (
        ("kept", located & lasting),
        ("short", located & ~lasting),
        ("unseen", ~seen),
        ("no way back", claims == 0),
        ("too few", claims < quorum),
        ("disputed", left),
    ):
        counts[name] = int((mask & left).sum())
        left = left & ~mask
    return {name: counts[name] for name in FATES}
