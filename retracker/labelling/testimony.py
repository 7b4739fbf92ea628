"""What one teacher says of a clip: tracked both ways in time, and sent back to see whether it was true.

A teacher is any tracker. It sees the whole clip at its full rate, follows a point from its query forth to the
end and back to the start, and then goes back from the last frame in which it says to see the point: where
that way does not lead to the query, nothing beyond is believed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Tracked
from retracker.data.recordings import in_frame
from retracker.types import TensorStruct

# (video UInt8[T 3 H W], queries Float[N 3] = (t, x, y) px) -> Tracked; it may look forth in time only
Teacher = Callable[[Tensor, Tensor], Tracked]


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What a teacher must do to be believed."""

    cycle_px: float  # at 256 scale: how close to the query, and to the way there, the way back must come
    confidence: float  # below it a teacher that says "visible" is not heard
    attempts: int  # ways back: after one that fails, one from half as far

    def __post_init__(self) -> None:
        if self.cycle_px <= 0 or not 0 <= self.confidence <= 1 or self.attempts < 1:
            raise ValueError(
                "expected a cycle error above 0 px, a confidence in [0, 1] and at least 1 attempt, "
                f"got {self.cycle_px}, {self.confidence} and {self.attempts}"
            )


@dataclass(frozen=True, kw_only=True)
class Testimony(TensorStruct):
    """One teacher's answer for every point and frame."""

    tracks: Float[Tensor, "T N 2"]  # px; the query in its own frame
    seen: Bool[Tensor, "T N"]  # it says "visible", surely enough and inside the frame
    verified: Bool[Tensor, "T N"]  # seen, and a way back from this frame or beyond confirms the place
    hidden: Bool[Tensor, "T N"]  # not seen on a verified way there, nor on the way back


def testify(
    teacher: Teacher, video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"], checks: Checks
) -> Testimony:
    """Ask a teacher for queries (t, x, y), and check what it says."""
    forth = _one_way(teacher, video, queries, checks)
    past = _one_way(teacher, video.flip(0), _mirrored(queries, len(video)), checks).map(lambda x: x.flip(0))
    times, birth = torch.arange(len(video))[:, None], queries[:, 0].long()
    merged = forth.map(lambda later, sooner: torch.where(_like(times < birth, later), sooner, later), past)
    own = times == birth
    known = (merged.verified & ~own).any(0)  # a query alone says nothing
    return Testimony(
        tracks=torch.where(own[..., None], queries[:, 1:].float(), merged.tracks),
        seen=merged.seen | own,
        verified=torch.where(own, known, merged.verified),
        hidden=merged.hidden & ~own,
    )


def _one_way(teacher: Teacher, video: Tensor, queries: Tensor, checks: Checks) -> Testimony:
    """From each query to the end of the video; what is said of frames before it means nothing."""
    found = teacher(video, queries)
    times, birth = torch.arange(len(video))[:, None], queries[:, 0].long()
    inside = in_frame(found.tracks, video)
    seen = found.visible & (found.confidence >= checks.confidence) & inside & (times > birth)
    verified, hidden = torch.zeros_like(seen), torch.zeros_like(seen)
    tolerance = checks.cycle_px * scale_256(video)
    turn = _last(seen)  # where each way back begins; -1: nowhere, or no more
    for _ in range(checks.attempts):
        asked = (turn >= 0).nonzero()[:, 0]
        if not len(asked):
            break
        there = Tracked(tracks=found.tracks, visible=seen, confidence=found.confidence)
        there = there.map(lambda x, asked=asked: x[:, asked])
        back = _way_back(teacher, video, there, (birth[asked], turn[asked]))
        home = back.tracks[birth[asked], torch.arange(len(asked))]
        missed = (home - queries[asked, 1:]).norm(dim=-1)
        came_home = (missed <= tolerance) & back.visible[birth[asked], torch.arange(len(asked))]
        between = (times > birth[asked]) & (times <= turn[asked]) & came_home
        close = (back.tracks - there.tracks).norm(dim=-1) <= tolerance
        verified[:, asked] |= between & there.visible & close
        hidden[:, asked] |= between & ~there.visible & ~back.visible
        halfway = birth[asked] + (turn[asked] - birth[asked]) // 2
        again = torch.where(came_home, -1, _last(there.visible & (times <= halfway)))
        turn = turn.index_put((asked,), again)
    return Testimony(tracks=found.tracks, seen=seen, verified=verified, hidden=hidden)


def _way_back(teacher: Teacher, video: Tensor, there: Tracked, ends: tuple[Tensor, Tensor]) -> Tracked:
    """A fresh run backward, from where each point was found in its last frame to its first: (first, last)."""
    first, last = ends
    sooner, later = int(first.min()), int(last.max()) + 1  # other frames need not be looked at
    start = there.tracks[last, torch.arange(len(last))]
    queries = torch.cat([(last - sooner)[:, None].to(start), start], dim=-1)
    part = video[sooner:later].flip(0)
    found = teacher(part, _mirrored(queries, len(part))).map(lambda x: x.flip(0))

    def padded(x: Tensor) -> Tensor:
        return torch.cat(
            [x.new_zeros(sooner, *x.shape[1:]), x, x.new_zeros(len(video) - later, *x.shape[1:])]
        )

    return found.map(padded)


def _mirrored(queries: Float[Tensor, "N 3"], num_frames: int) -> Float[Tensor, "N 3"]:
    """The same queries in the film played backwards."""
    return torch.cat([num_frames - 1 - queries[:, :1], queries[:, 1:]], dim=-1)


def _last(mask: Bool[Tensor, "T N"]) -> Int[Tensor, " N"]:
    """The last frame in which each point's mask is set; -1 for none."""
    times = torch.arange(len(mask))[:, None]
    return torch.where(mask, times, -1).amax(0)


def _like(mask: Bool[Tensor, "T N"], value: Tensor) -> Bool[Tensor, "T N *rest"]:
    return mask.reshape(*mask.shape, *[1] * (value.ndim - mask.ndim))


def scale_256(video: UInt8[Tensor, "T 3 H W"]) -> float:
    """Pixels of this video per pixel of a 256 x 256 one (by area)."""
    return (video.shape[-2] * video.shape[-1]) ** 0.5 / 256
