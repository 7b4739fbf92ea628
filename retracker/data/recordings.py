"""What a data set of videos with tracks offers: any frames of any of its recordings, with checked labels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from retracker.types import Queries, VideoSample

FARTHEST = 1e5  # px: a position beyond this is no position but a division by a depth near 0


class Unusable(ValueError):
    """These frames are sound but show nothing to learn from: draw others. Not a fault of the files."""


class Recordings(Dataset[VideoSample], ABC):
    """A data set of videos with tracks; ``self[i]`` is the whole i-th recording with all its points.

    Making one lists what is there, by names alone. Reading raises OSError or ValueError, naming the file,
    for one that is missing or broken, and Unusable where no point is ever visible.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def num_frames(self, index: int) -> int:
        """How many frames the recording has."""

    @abstractmethod
    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames of a recording, in the order given, and every point that is visible in one."""

    def scene(self, index: int) -> str:
        """What recordings are balanced by: those of one scene share its chance of being drawn."""
        return str(index)

    def __getitem__(self, index: int) -> VideoSample:
        if not 0 <= index < len(self):
            raise IndexError(f"recording {index} of a data set of {len(self)}")
        return self.read(index, range(self.num_frames(index)))


def labelled_clip(
    video: UInt8[Tensor, "T 3 H W"],
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    *,
    labelled: Bool[Tensor, "T N"] | None = None,
    located: Bool[Tensor, "T N"] | None = None,
    name: str,
) -> VideoSample:
    """A sample of raw labels (raster px), made consistent; each point is asked for where it is first seen.

    Positions that are not finite, or absurd, are not located (and put at 0). A point is visible only where
    it is located, labelled and inside the frame; outside it is hidden. Points never visible are left out.
    Raises Unusable if none remains, ValueError if the shapes do not agree.
    """
    if tracks.shape[:1] != video.shape[:1] or visible.shape != tracks.shape[:2]:
        raise ValueError(
            f"{name}: {len(video)} frames, but tracks {tuple(tracks.shape)} "
            f"and visibility {tuple(visible.shape)}"
        )
    everywhere = torch.ones_like(visible)
    labelled = everywhere if labelled is None else labelled
    located = everywhere if located is None else located
    located = located & (tracks.abs() < FARTHEST).all(-1)  # False for inf and nan
    tracks = torch.where(located[..., None], tracks, 0.0).float()
    labelled = labelled & (located | ~visible)  # "visible" without a position says nothing
    visible = visible & located & labelled & in_frame(tracks, video)
    seen = visible.any(0)
    if not seen.any():
        raise Unusable(f"{name}: no point is visible in any of these {len(video)} frames")
    tracks, visible = tracks[:, seen], visible[:, seen]
    return VideoSample(
        video=video,
        queries=first_seen(tracks, visible),
        tracks=tracks,
        visible=visible,
        labelled=labelled[:, seen],
        located=located[:, seen],
        name=name,
    )


def first_seen(tracks: Float[Tensor, "T N 2"], visible: Bool[Tensor, "T N"]) -> Queries:
    """Each point where it is first visible (in frame 0 if it never is)."""
    first = earliest(visible)
    return Queries(xy=positions(tracks, first), frame=first)


def positions(tracks: Float[Tensor, "T N 2"], frame: Int[Tensor, " N"]) -> Float[Tensor, "N 2"]:
    """Where each point is in a frame of its own."""
    return tracks[frame, torch.arange(len(frame))]


def earliest(mask: Bool[Tensor, "T N"]) -> Int[Tensor, " N"]:
    """The first frame in which each point's mask is set (0 if it never is)."""
    return torch.from_numpy(mask.numpy().argmax(0))  # ten times as fast as torch's


def in_frame(xy: Float[Tensor, "*B 2"], video: UInt8[Tensor, "T 3 H W"]) -> Bool[Tensor, "*B"]:
    """Whether points lie inside the frames of a clip."""
    size = xy.new_tensor([video.shape[-1], video.shape[-2]])
    return ((xy >= 0) & (xy < size)).all(-1)
