"""Paste rectangles over clips: what lies under them is hidden."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.appearance import checked_range
from retracker.data.points import asked_where_seen, learnable
from retracker.data.warp import known_absent
from retracker.types import DenseFlow, VideoSample

FASTEST = 0.1  # of the frame's width and height: what a patch moves at most from frame to frame
STILL_SHARE = 0.5  # of the patches


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A picture that covers a part of some frames."""

    picture: UInt8[Tensor, "3 h w"]
    corner: Int[Tensor, "T 2"]  # its upper-left one, px; it may lie outside the frame
    there: Bool[Tensor, " T"]  # in which frames it is


class Erase:
    """Cover, with a chance of ``share``, up to ``most`` places, each ``side`` (lowest, highest share of the
    frame's width and height) large and there for up to ``lasting`` frames, still or moving.

    They show noise, one colour or a piece of another place. Frame 0 stays whole, as most points are asked for
    in it. A clip that would lose its last point stays as it is.
    """

    def __init__(self, share: float | int, most: int, side: Sequence[float | int], lasting: int) -> None:
        if most < 1 or lasting < 1:
            raise ValueError(f"most and lasting must be at least 1, got {most} and {lasting}")
        self.share, self.most, self.lasting = share, most, lasting
        self.side = checked_range("side", side, 0)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share or len(sample.video) < 2:
            return sample
        patches = [self._patch(sample.video, rng) for _ in range(rng.integers(1, self.most + 1))]
        erased = covered(sample, patches)
        return erased if learnable(erased).any() else sample

    def _patch(self, video: UInt8[Tensor, "T 3 H W"], rng: np.random.Generator) -> Patch:
        num_frames, _, height, width = video.shape
        whole = np.array([width, height])
        size = np.rint(rng.uniform(*self.side, 2) * whole).astype(int).clip(1, whole)
        start = int(rng.integers(1, num_frames))
        age = np.arange(num_frames) - start
        speed = rng.uniform(-FASTEST, FASTEST, 2) * whole * (rng.random() >= STILL_SHARE)
        centre = rng.uniform(0, 1, 2) * whole + age[:, None] * speed
        return Patch(
            picture=torch.from_numpy(picture(video[start].numpy(), size, rng)),
            corner=torch.from_numpy(np.rint(centre - size / 2).astype(int)),
            there=torch.from_numpy((age >= 0) & (age < rng.integers(1, self.lasting + 1))),
        )


def picture(
    frame: UInt8[np.ndarray, "3 H W"], size: Int[np.ndarray, "2"], rng: np.random.Generator
) -> UInt8[np.ndarray, "3 h w"]:
    """What a patch of (width, height) shows: noise, the frame's mean colour, or a piece of it."""
    width, height = size
    kind = rng.integers(3)
    if kind == 0:
        return rng.integers(0, 256, (3, height, width), dtype=np.uint8)
    if kind == 1:
        mean = frame.mean((1, 2)).astype(np.uint8)
        return np.broadcast_to(mean[:, None, None], (3, height, width)).copy()
    top, left = (
        int(rng.integers(whole - side + 1))
        for whole, side in zip(frame.shape[1:], (height, width), strict=True)
    )
    return frame[:, top : top + height, left : left + width].copy()


def covered(sample: VideoSample, patches: Sequence[Patch]) -> VideoSample:
    """The clip under patches, later ones above: a point below one is hidden, its position still known."""
    video, hidden = sample.video.clone(), torch.zeros_like(sample.visible)
    for patch in patches:
        hidden = hidden | below(patch, sample.tracks)
        for t in patch.there.nonzero()[:, 0].tolist():
            paste(video[t], patch.picture, *patch.corner[t].tolist())
    flow = None if sample.flow is None else flow_around(sample.flow, patches)
    return asked_where_seen(replace(sample, video=video, visible=sample.visible & ~hidden, flow=flow))


def paste(frame: UInt8[Tensor, "3 H W"], patch: UInt8[Tensor, "3 h w"], left: int, top: int) -> None:
    """Write a picture into a frame, as far as it lies inside."""
    _, height, width = patch.shape
    part = patch[:, max(0, -top) :, max(0, -left) :]
    target = frame[:, max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    target.copy_(part[:, : target.shape[1], : target.shape[2]])


def below(patch: Patch, xy: Float[Tensor, "T N 2"]) -> Bool[Tensor, "T N"]:
    """Which points (x, y), raster px of each frame, lie under a patch."""
    _, height, width = patch.picture.shape
    within = xy - patch.corner[:, None]
    return patch.there[:, None] & ((within >= 0) & (within < within.new_tensor([width, height]))).all(-1)


def flow_around(flow: DenseFlow, patches: Sequence[Patch]) -> DenseFlow:
    """Dense flow of what the patches leave to be seen."""
    num_frames, height, width = flow.valid.shape
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    position = (torch.stack([x, y], dim=-1) + 0.5 + flow.displacement).reshape(num_frames, -1, 2)
    hidden = torch.stack([below(patch, position) for patch in patches]).any(0)
    hidden = hidden.reshape(flow.valid.shape)
    absent = known_absent(flow) | (flow.valid & hidden)
    return replace(flow, valid=flow.valid & ~hidden, absent=absent)
