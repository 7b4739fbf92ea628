"""Tracked forth and, by a fresh run, back: what can be asked of films whose truth nobody knows.

A point survives if it is called visible at both ends and comes back to within 8 px of its start. A tracker
that never moves is perfect by this measure.
"""

from dataclasses import dataclass

import cv2
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Tracked, Tracker
from retracker.visualize.canvas import to_array

NEAR = 8.0  # px of the clip: closer to the start than this, a point has come back
BLOCK_PX, LEAST_TEXTURE = 5, 0.01  # whose structure tensor; of the frame's largest smaller eigenvalue


@dataclass(frozen=True)
class Cycle:
    """What became of the points of one clip."""

    there: Tracked
    error: Float[Tensor, " N"]  # px between the start and where the way back ends
    kept: Bool[Tensor, " N"]  # called visible in the last frame, and in the first again
    textured: Bool[Tensor, " N"]  # there is texture around its start

    def scores(self) -> dict[str, float]:
        """Shares in percent, distances in px; NaN where there is nothing to measure on.

        "half within": so near to their starts half of all points come back, of which those not kept never do.
        Unlike the median of those that a tracker chose to keep, it asks the same points of every tracker.
        """
        survived = self.kept & (self.error < NEAR)
        moved = (self.there.tracks[-1] - self.there.tracks[0]).norm(dim=-1)
        return {
            "survived %": 100 * survived.float().mean().item(),
            "of textured %": 100 * survived[self.textured].float().mean().item(),
            "kept %": 100 * self.kept.float().mean().item(),
            "cycle error px": self.error[self.kept].median().item() if self.kept.any() else float("nan"),
            "half within px": torch.where(self.kept, self.error, torch.inf).median().item(),
            "of all px": self.error.mean().item(),  # lost ones too: the same points for every tracker
            "moved px": moved[self.kept].median().item() if self.kept.any() else float("nan"),
        }


def cycle(tracker: Tracker, video: UInt8[Tensor, "T 3 H W"], points: Float[Tensor, "N 2"]) -> Cycle:
    """Track points (px) of the first frame to the last one and, from what was found there, back."""
    there = tracker(video, torch.cat([torch.zeros(len(points), 1), points], dim=1))
    limit = torch.tensor([video.shape[-1], video.shape[-2]])
    end = there.tracks[-1]
    inside = ((end >= 0) & (end < limit)).all(-1)
    start = torch.where(inside[:, None], end, limit / 2)
    back = tracker(video.flip(0), torch.cat([torch.zeros(len(points), 1), start], dim=1))
    kept = there.visible[-1] & inside & back.visible[-1]
    error = (back.tracks[-1] - points).norm(dim=-1)
    return Cycle(there=there, error=error, kept=kept, textured=textured(video[0], points))


def textured(frame: UInt8[Tensor, "3 H W"], points: Float[Tensor, "N 2"]) -> Bool[Tensor, " N"]:
    """Whether something varies in both directions around points (px) of a frame (Shi & Tomasi 1994)."""
    grey = cv2.cvtColor(to_array(frame), cv2.COLOR_RGB2GRAY)
    smaller = torch.from_numpy(cv2.cornerMinEigenVal(grey, BLOCK_PX))
    column, row = points.long().unbind(-1)
    return smaller[row, column] > LEAST_TEXTURE * smaller.max()
