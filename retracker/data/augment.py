"""Change whole clips: mirror them, play them backwards. Frames and tracks move together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from retracker.data.points import asked_where_seen, learnable
from retracker.data.recordings import first_seen, in_frame
from retracker.data.warp import known_absent
from retracker.geometry.coords import flip_horizontally
from retracker.types import DenseFlow, VideoSample

Transform = Callable[[VideoSample, np.random.Generator], VideoSample]


class Augment:
    """Apply transforms of one sample in order, all drawing from the sample's own generator.

    They may have names, so that an experiment can change one of them.
    """

    def __init__(self, transforms: Sequence[Transform] | Mapping[str, Transform]) -> None:
        self.transforms = tuple(transforms.values() if isinstance(transforms, Mapping) else transforms)

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        for transform in self.transforms:
            sample = transform(sample, rng)
        return sample


class Flip:
    """Mirror left to right, and upside down, each with its own chance."""

    def __init__(self, horizontal: float, vertical: float) -> None:
        self.horizontal, self.vertical = horizontal, vertical

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        across, down = rng.random(2) < (self.horizontal, self.vertical)
        sample = mirror(sample) if across else sample
        return transpose(mirror(transpose(sample))) if down else sample


class Reverse:
    """Play a clip backwards, with a chance of ``share``.

    One with dense flow would lose it, and stays; so does one whose points are all gone after frame 0, such as
    a pair without a match.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        if rng.random() >= self.share or sample.flow is not None:
            return sample
        backwards = reverse(sample)
        return backwards if learnable(backwards).any() else sample


def mirror(sample: VideoSample) -> VideoSample:
    """The clip seen in a mirror: x becomes width - x. A transform of an unbatched sample.

    The left border belongs to the frame and the right one does not: a point on it is hidden then.
    """
    width = sample.video.shape[-1]
    flow = sample.flow
    if flow is not None:
        change = flow.displacement.flip(-2) * flow.displacement.new_tensor([-1.0, 1.0])
        flow = DenseFlow(displacement=change, valid=flow.valid.flip(-1), absent=known_absent(flow).flip(-1))
    tracks = flip_horizontally(sample.tracks, width)
    mirrored = replace(
        sample,
        video=sample.video.flip(-1),
        tracks=tracks,
        visible=sample.visible & in_frame(tracks, sample.video),
        queries=replace(sample.queries, xy=flip_horizontally(sample.queries.xy, width)),
        flow=flow,
    )
    return asked_where_seen(mirrored)


def transpose(sample: VideoSample) -> VideoSample:
    """The clip with x and y exchanged, frames, tracks and flow alike."""
    flow = sample.flow
    if flow is not None:
        change = flow.displacement.transpose(-3, -2).flip(-1)
        valid, absent = (mask.transpose(-2, -1) for mask in (flow.valid, known_absent(flow)))
        flow = DenseFlow(displacement=change, valid=valid, absent=absent)
    return replace(
        sample,
        video=sample.video.transpose(-2, -1).contiguous(),
        tracks=sample.tracks.flip(-1),
        queries=replace(sample.queries, xy=sample.queries.xy.flip(-1)),
        flow=flow,
    )


def reverse(sample: VideoSample) -> VideoSample:
    """The clip played backwards; each point is asked for where it is now first to be seen.

    Left in its own picture, a query of frame 0 would be one of the last frame, with nothing to track. Dense
    flow starts in frame 0, which is another frame now: it is left out.
    """
    tracks, visible, located = (x.flip(0) for x in (sample.tracks, sample.visible, sample.located))
    backwards = replace(
        sample,
        video=sample.video.flip(0),
        queries=first_seen(tracks, visible & located),
        tracks=tracks,
        visible=visible,
        labelled=sample.labelled.flip(0),
        located=located,
        flow=None,
    )
    return asked_where_seen(backwards)
