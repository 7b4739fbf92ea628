"""Fixed clips out of real data sets, to validate on: the same few whenever and wherever they are read."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from retracker.data.crop import Resize
from retracker.data.pairs import Pairs
from retracker.data.points import learnable, only
from retracker.data.recordings import Recordings, Unusable
from retracker.data.supervision import query_points, supervised_clip
from retracker.types import VideoSample


class Excerpts(Dataset[VideoSample]):
    """The beginnings of ``num_clips`` recordings, spread evenly over the data set; fewer if it has fewer.

    Every ``stride``-th frame, ``num_frames`` in all or as many as there are, resized to (height, width)
    ``size``; ``num_points`` of the points, asked for where each is first seen. A recording that shows nothing
    to learn from gives way to the next one.
    """

    def __init__(
        self,
        recordings: Recordings,
        num_clips: int,
        num_frames: int,
        stride: int,
        num_points: int,
        size: Sequence[int],
    ) -> None:
        if min(num_clips, num_frames, stride, num_points) < 1:
            raise ValueError(
                f"excerpts: num_clips, num_frames, stride and num_points must be at least 1, "
                f"got {num_clips}, {num_frames}, {stride} and {num_points}"
            )
        self.recordings, self.num_clips = recordings, num_clips
        self.span, self.stride, self.num_points = num_frames * stride, stride, num_points
        self.resize = Resize(size)

    def __len__(self) -> int:
        return min(self.num_clips, len(self.recordings))

    def __getitem__(self, index: int) -> VideoSample:
        return first_usable(self._clip, index, len(self), len(self.recordings))

    def _clip(self, index: int) -> VideoSample:
        length = self.recordings.num_frames(index)
        clip = self.recordings.read(index, range(0, min(length, self.span), self.stride))
        usable = learnable(clip).any(0).nonzero()[:, 0]
        if len(usable) == 0:
            raise Unusable(f"{clip.name}: no point is visible before a frame with labels")
        rng = np.random.default_rng(index)
        chosen = np.sort(rng.permutation(len(usable))[: self.num_points])
        return self.resize(only(clip, usable[torch.from_numpy(chosen)]), rng)


class PairExcerpts(Dataset[VideoSample]):
    """``num_clips`` posed pairs as clips of two frames, spread evenly over the data set; or all there are.

    ``dense`` adds the displacement of every pixel, which pictures show.
    """

    def __init__(self, pairs: Pairs, num_clips: int, num_points: int, *, dense: bool) -> None:
        if min(num_clips, num_points) < 1:
            raise ValueError(
                f"excerpts: num_clips and num_points must be at least 1, got {num_clips} and {num_points}"
            )
        self.pairs, self.num_clips, self.num_points, self.dense = pairs, num_clips, num_points, dense

    def __len__(self) -> int:
        return min(self.num_clips, len(self.pairs))

    def __getitem__(self, index: int) -> VideoSample:
        return first_usable(self._clip, index, len(self), len(self.pairs))

    def _clip(self, index: int) -> VideoSample:
        pair = self.pairs[index]
        xy = query_points(pair, self.num_points, np.random.default_rng(index))
        return supervised_clip(pair, xy, dense=self.dense)


def first_usable(read: Callable[[int], VideoSample], index: int, num_clips: int, count: int) -> VideoSample:
    """What can be learned from at the ``index``-th of ``num_clips`` even places among ``count``, or after it.

    Raises Unusable if nothing can be, anywhere.
    """
    if not 0 <= index < num_clips:
        raise IndexError(f"clip {index} of {num_clips}")
    place = index * count // num_clips
    for step in range(count):
        try:
            return read((place + step) % count)
        except Unusable as error:
            reason = error
    raise Unusable(f"nothing to learn from in {count} recordings or pairs, the last one: {reason}")
