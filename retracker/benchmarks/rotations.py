"""Test-time augmentation: a video is tracked upright and turned, and each point takes the surest answer."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Tracked, Tracker


def rotated(tracker: Tracker, quarter_turns: Sequence[int]) -> Tracker:
    """A tracker that sees the video turned counter-clockwise by each of ``quarter_turns``.

    In every frame a point's answer is that of the turn with the highest confidence there, of the first of
    those that are equal. Raises ValueError if there is no turn, or one twice.
    """
    turns = [turn % 4 for turn in quarter_turns]
    if not turns or len(set(turns)) != len(turns):
        raise ValueError(f"rotations: expected different numbers of quarter turns, got {list(quarter_turns)}")

    def track(video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Tracked:
        best = _tracked_turned(tracker, video, queries, turns[0])
        for turn in turns[1:]:
            other = _tracked_turned(tracker, video, queries, turn)
            surer = other.confidence > best.confidence
            best = Tracked(
                tracks=torch.where(surer[..., None], other.tracks, best.tracks),
                visible=torch.where(surer, other.visible, best.visible),
                confidence=torch.where(surer, other.confidence, best.confidence),
            )
        return best

    return track


def turned(xy: Float[Tensor, "*B 2"], size: tuple[int, int], turn: int) -> Float[Tensor, "*B 2"]:
    """Where points (x, y) of an image of ``size`` (height, width) land when it is turned as torch.rot90 does.

    In raster px: of the image before, and of the turned one.
    """
    height, width = size
    x, y = xy.unbind(-1)
    place = ((x, y), (y, width - x), (width - x, height - y), (height - y, x))[turn % 4]
    return torch.stack(place, dim=-1)


def _tracked_turned(tracker: Tracker, video: Tensor, queries: Tensor, turn: int) -> Tracked:
    size = tuple(video.shape[-2:])
    seen = torch.rot90(video, turn, dims=(-2, -1)).contiguous() if turn else video
    asked = torch.cat([queries[:, :1], turned(queries[:, 1:], size, turn)], dim=-1)
    answer = tracker(seen, asked)
    return Tracked(
        tracks=turned(answer.tracks, tuple(seen.shape[-2:]), -turn),
        visible=answer.visible,
        confidence=answer.confidence,
    )
