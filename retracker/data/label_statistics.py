"""What the labels of clips are like: how many points, how fast they move, how long they are seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retracker.types import VideoSample

MOST_VALUES = 1024  # kept per clip of each distribution: 10^5 clips take 3 GB


@dataclass(frozen=True, kw_only=True)
class ClipStatistics:
    """One unbatched clip in numbers. Its distributions are even selections of what the clip holds."""

    num_frames: int
    height: int
    width: int
    num_points: int
    visible: int  # of the num_frames * num_points labels, and so for the two below
    labelled: int
    located: int
    last_visible_share: float  # of what is labelled in the last frame: of a pair, the overlap
    motion: Float[Tensor, " a"]  # px from one frame to the next, where the point is seen in both
    seen: Int[Tensor, " b"]  # frames in which each point is seen
    hidden: Int[Tensor, " c"]  # length of each gap between two frames in which a point is seen
    colour_change: Float[Tensor, " d"]  # along a track, from one frame to the next; grey levels
    chance_change: Float[Tensor, " d"]  # the same to where another point is: what wrong labels would show


def statistics_of(clip: VideoSample) -> ClipStatistics:
    """Count and measure the labels of one unbatched clip."""
    num_frames, num_points = clip.visible.shape
    both = clip.visible[1:] & clip.visible[:-1]  # T-1 N
    along, chance = _colour_changes(clip, both)
    return ClipStatistics(
        num_frames=num_frames,
        height=clip.video.shape[-2],
        width=clip.video.shape[-1],
        num_points=num_points,
        visible=int(clip.visible.sum()),
        labelled=int(clip.labelled.sum()),
        located=int(clip.located.sum()),
        last_visible_share=clip.visible[-1].sum().item() / max(1, clip.labelled[-1].sum().item()),
        motion=_some((clip.tracks[1:] - clip.tracks[:-1])[both].norm(dim=-1)),
        seen=_some(clip.visible.sum(0)),
        hidden=_some(_gaps(clip.visible)),
        colour_change=_some(along),
        chance_change=_some(chance),
    )


def summary_of(clips: Sequence[ClipStatistics]) -> dict[str, object]:
    """All clips in a few numbers, ready for json; shares lie in 0..1, None where nothing can be said."""
    labels = sum(clip.num_frames * clip.num_points for clip in clips)
    motion, seen, hidden, along, chance = (
        torch.cat([getattr(clip, name) for clip in clips]).float()
        for name in ("motion", "seen", "hidden", "colour_change", "chance_change")
    )
    relative = torch.cat([clip.motion / clip.width for clip in clips])
    points = torch.tensor([clip.num_points for clip in clips])
    return {
        "clips": len(clips),
        "frames": sum(clip.num_frames for clip in clips),
        "frame_sizes": sorted({(clip.height, clip.width) for clip in clips}),
        "points": int(points.sum()),
        "points_per_clip": _range(points),
        "visible_share": sum(clip.visible for clip in clips) / labels,
        "labelled_share": sum(clip.labelled for clip in clips) / labels,
        "located_share": sum(clip.located for clip in clips) / labels,
        "last_visible_share": _range(torch.tensor([clip.last_visible_share for clip in clips])),
        "motion_px": {"median": _at(0.5, motion), "p95": _at(0.95, motion)},
        "motion_per_width": {"median": _at(0.5, relative), "p95": _at(0.95, relative)},
        "seen_frames": {"median": _at(0.5, seen), "p95": _at(0.95, seen)},
        "hidden_runs_per_point": len(hidden) / len(seen),
        "hidden_frames": {"median": _at(0.5, hidden), "p95": _at(0.95, hidden)},
        "colour_change": {"median": _at(0.5, along), "p95": _at(0.95, along)},
        "chance_colour_change": {"median": _at(0.5, chance), "p95": _at(0.95, chance)},
    }


def _colour_changes(clip: VideoSample, both: Bool[Tensor, "T1 N"]) -> tuple[Tensor, Tensor]:
    """How the pixel under a point changes by the next frame, and how it differs from one under another point.

    Right labels have the first far below the second; swapped axes or a wrong scale do not.
    """
    height, width = clip.video.shape[-2:]
    x, y = clip.tracks.long().unbind(-1)  # the pixel a raster position lies in
    pixel = x.clamp(0, width - 1) + width * y.clamp(0, height - 1)  # T N
    index = pixel[:, None].expand(-1, 3, -1)
    colours = clip.video.flatten(-2).gather(-1, index).transpose(1, 2).float()  # T N 3
    before, after = colours[:-1][both], colours[1:][both]
    other = after.roll(max(1, len(after) // 2), 0)
    return (after - before).abs().mean(-1), (other - before).abs().mean(-1)


def _gaps(visible: Bool[Tensor, "T N"]) -> Int[Tensor, " c"]:
    """The number of frames between each sight of a point and its next, where there are any."""
    point, time = visible.T.nonzero(as_tuple=True)  # in the order of points, then of time
    gap = time.diff() - 1
    return gap[(point.diff() == 0) & (gap > 0)]


def _some(values: Tensor) -> Tensor:
    """All values, or an even selection of them if they are very many."""
    if len(values) <= MOST_VALUES:
        return values
    return values[torch.linspace(0, len(values) - 1, MOST_VALUES).long()]


def _range(values: Tensor) -> dict[str, float | int]:
    return {"least": values.min().item(), "median": _at(0.5, values), "most": values.max().item()}


def _at(share: float, values: Tensor) -> float | None:
    return float(np.quantile(values.numpy(), share)) if len(values) else None
