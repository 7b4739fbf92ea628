"""Longer tracks from optical flow: one step is chained to the next for as long as it is sure.

Flow must be the true motion of what each pixel shows, also where it comes to lie behind something (as in
rendered sets, not as estimated). Then one step beyond the last sure one is known as well: there the point has
gone behind something or out of the frame. All that comes after is unknown.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

RETURNS_WITHIN = 0.5  # px: what comes back so close, forward and backward, is seen in both frames
LEAVES_BEYOND = 1.0  # px: what comes back no closer than this hit something else. In between: not told
IMPOSSIBLE = 1000.0  # px: where a renderer divided by a depth near 0
SMOOTH = 1.0  # px: flows of the four pixels around a point that differ by more are of two motions


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What each pixel of a clip shows and where that goes, in all S = T - 1 steps between its frames."""

    forward: Float32[np.ndarray, "S H W 2"]  # px; [t] from frame t to t + 1
    backward: Float32[np.ndarray, "S H W 2"]  # px; [t] from frame t + 1 to t
    surface: Int32[np.ndarray, "T H W"]  # an index of the object


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Tracks of the seeds; where ``located`` is False nothing is known of a point."""

    tracks: Float32[np.ndarray, "T N 2"]  # raster px
    visible: Bool[np.ndarray, "T N"]
    labelled: Bool[np.ndarray, "T N"]
    located: Bool[np.ndarray, "T N"]


def chain(steps: Steps, xy: Float32[np.ndarray, "N 2"], frame: Int[np.ndarray, " N"]) -> Chains:
    """Follow points that are seen at ``xy`` (raster px) of their ``frame`` to both ends of the clip."""
    num_frames, num_points = len(steps.surface), len(xy)
    tracks = np.zeros((num_frames, num_points, 2), np.float32)
    flags = np.zeros((3, num_frames, num_points), bool)  # visible, labelled, located
    tracks[frame, np.arange(num_points)] = xy
    flags[:, frame, np.arange(num_points)] = True
    ahead = [(t, t + 1, steps.forward[t], steps.backward[t]) for t in range(num_frames - 1)]
    back = [(t + 1, t, steps.backward[t], steps.forward[t]) for t in reversed(range(num_frames - 1))]
    for now, then, flow, counter in [*ahead, *back]:
        # Only away from its own frame: the way there has been walked already.
        going = flags[0, now] & ((then > frame) if then > now else (then < frame))
        found = step(tracks[now, going], flow, counter, steps.surface[now], steps.surface[then])
        tracks[then, going], flags[:, then, going] = found
    return Chains(tracks=tracks, visible=flags[0], labelled=flags[1], located=flags[2])


def step(
    xy: Float32[np.ndarray, "N 2"],
    flow: Float32[np.ndarray, "H W 2"],
    counter: Float32[np.ndarray, "H W 2"],
    surface: Int32[np.ndarray, "H W"],
    surface_there: Int32[np.ndarray, "H W"],
) -> tuple[Float32[np.ndarray, "N 2"], Bool[np.ndarray, "3 N"]]:
    """Where visible points are one frame on, and whether each is visible, labelled and located there.

    ``flow`` leads there and ``counter`` back.
    """
    here = around(xy, surface.shape)
    own = here.pick(surface)  # 4 N
    motion, smooth = here.blend(flow)
    sure = smooth & (own == own[0]).all(0)
    moved = np.where(sure[:, None], xy + motion, 0)
    inside = ((moved >= 0) & (moved < surface.shape[::-1])).all(-1)
    there = around(moved, surface.shape)
    same = there.pick(surface_there) == own[0]  # 4 N
    gap = np.linalg.norm(motion + there.blend(counter)[0], axis=-1)
    seen = same.all(0) & (gap < RETURNS_WITHIN)
    hidden = ~same.any(0) | (same.all(0) & (gap > LEAVES_BEYOND))
    return moved, sure & np.stack([inside & seen, ~inside | seen | hidden, sure])


@dataclass(frozen=True, kw_only=True)
class Around:
    """The pixels around each of N points: upper left, upper right, lower left, lower right."""

    index: Int[np.ndarray, "4 N"]  # into the flattened image; a pixel of no weight gives way to another
    weight: Float32[np.ndarray, "4 N"]  # bilinear; they add up to 1

    def pick(self, image: np.ndarray) -> np.ndarray:
        """The values of an image (H W or H W C) at the four pixels."""
        return image.reshape(-1, *image.shape[2:])[self.index]

    def blend(
        self, flow: Float32[np.ndarray, "H W 2"]
    ) -> tuple[Float32[np.ndarray, "N 2"], Bool[np.ndarray, " N"]]:
        """Flow at the points, and whether all pixels that it is made of move alike and not absurdly far."""
        four = self.pick(flow)  # 4 N 2
        with np.errstate(invalid="ignore"):  # inf - inf
            alike = (np.ptp(four, axis=0) < SMOOTH) & (np.abs(four) < IMPOSSIBLE).all(0)  # False for nan
            return (four * self.weight[..., None]).sum(0), alike.all(-1)


def around(xy: Float32[np.ndarray, "N 2"], size: tuple[int, int]) -> Around:
    """The pixels whose centres enclose each point (raster px); the border repeats beyond an image."""
    limit = np.array(size[::-1]) - 1
    corner = np.clip(xy - 0.5, 0, limit)
    low = corner.astype(np.int64)  # N 2
    share = (corner - low).astype(np.float32)
    high = np.where(share > 0, low + 1, low)
    columns = np.stack([low[:, 0], high[:, 0]] * 2)  # 4 N
    rows = np.stack([low[:, 1], low[:, 1], high[:, 1], high[:, 1]])
    across = np.stack([1 - share[:, 0], share[:, 0]] * 2)
    down = np.stack([1 - share[:, 1], 1 - share[:, 1], share[:, 1], share[:, 1]])
    return Around(index=rows * size[1] + columns, weight=across * down)


def grid(size: tuple[int, int], spacing: int) -> Float32[np.ndarray, "N 2"]:
    """The centres of every ``spacing``-th pixel of an image of that height and width, raster px."""
    x, y = np.meshgrid(*[np.arange(spacing // 2, length, spacing) for length in size[::-1]])
    return np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32) + 0.5
