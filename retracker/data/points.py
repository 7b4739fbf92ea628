"""Which points of a clip are asked for, and in which frame each of them is."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from retracker.data.recordings import Unusable, earliest, positions
from retracker.types import Queries, VideoSample

FAST = 0.05  # of a frame's longer side: what is seen farther from its start counts as moving


def seen(sample: VideoSample) -> Bool[Tensor, "T N"]:
    """Where a point may be asked for: it is visible and its position is known."""
    return sample.visible & sample.located


def learnable(sample: VideoSample) -> Bool[Tensor, "T N"]:
    """Where a point may be asked for with something to learn: it is seen, and a label follows."""
    known = sample.labelled | sample.located
    last = len(known) - 1 - earliest(known.flip(0))
    return seen(sample) & (torch.arange(len(known))[:, None] < last)


def asked_where_seen(sample: VideoSample) -> VideoSample:
    """Ask for each point that is not seen at its query where it first is, after a change of what is seen.

    One that is seen nowhere any more keeps its query and loses its labels.
    """
    visible = seen(sample)
    some = visible.any(0)
    lost = some & ~visible.gather(0, sample.queries.frame[None])[0]
    first = earliest(visible)
    queries = Queries(
        xy=torch.where(lost[:, None], positions(sample.tracks, first), sample.queries.xy),
        frame=torch.where(lost, first, sample.queries.frame),
    )
    return replace(sample, queries=queries, labelled=sample.labelled & some, located=sample.located & some)


class ChoosePoints:
    """Keep ``num_points`` points (of a pair, ``num_pair_points``) that have something to teach, and draw the
    frame each is asked for in.

    A point visible in frame 0 is born there with a chance of ``first_frame``; any other in a random frame
    that shows it within the first ``last_birth`` (a share) of the clip, or where it is first seen. A point
    that moves weighs ``moving`` more than the 1 of others, one that is hidden for a time ``hidden`` more.
    Fewer points are all kept; raises Unusable if there is none.
    """

    def __init__(
        self,
        num_points: int,
        num_pair_points: int,
        first_frame: float | int,
        last_birth: float | int,
        moving: float | int,
        hidden: float | int,
    ) -> None:
        if min(num_points, num_pair_points) < 1:
            raise ValueError(
                f"num_points and num_pair_points must be at least 1, got {num_points} and {num_pair_points}"
            )
        self.num_points, self.num_pair_points = num_points, num_pair_points
        self.first_frame, self.last_birth = first_frame, last_birth
        self.moving, self.hidden = moving, hidden

    def __call__(self, sample: VideoSample, rng: np.random.Generator) -> VideoSample:
        births = learnable(sample)
        usable = births.any(0).numpy().nonzero()[0]
        if len(usable) == 0:
            raise Unusable(f"{sample.name}: no point is visible before a frame with labels")
        weight = 1 + self.moving * moves(sample).numpy() + self.hidden * hides(sample).numpy()
        # The largest of u ** (1 / weight) are a weighted draw without replacement (Efraimidis and Spirakis).
        order = np.argsort(np.log(rng.random(len(usable))) / weight[usable])[::-1]
        num = self.num_pair_points if len(sample.video) == 2 else self.num_points
        chosen = torch.from_numpy(np.sort(usable[order[:num]]))
        return born(only(sample, chosen), self._births(births[:, chosen], rng))

    def _births(self, possible: Bool[Tensor, "T N"], rng: np.random.Generator) -> Int[Tensor, " N"]:
        num_frames, num_points = possible.shape
        frame = torch.arange(num_frames)[:, None]
        early = possible & (frame <= self.last_birth * (num_frames - 1))
        drawn = torch.where(early, torch.from_numpy(rng.random((num_frames, num_points))), -1.0).argmax(0)
        birth = torch.where(early.any(0), drawn, earliest(possible))
        at_once = torch.from_numpy(rng.random(num_points) < self.first_frame)
        return torch.where(possible[0] & at_once, 0, birth)


def only(sample: VideoSample, points: Int[Tensor, " M"]) -> VideoSample:
    """The clip with some of its points."""
    noise = None if sample.noise is None else sample.noise.map(lambda value: value[:, points])
    return replace(
        sample,
        queries=sample.queries.map(lambda value: value[points]),
        tracks=sample.tracks[:, points],
        visible=sample.visible[:, points],
        labelled=sample.labelled[:, points],
        located=sample.located[:, points],
        noise=noise,
    )


def born(sample: VideoSample, frame: Int[Tensor, " N"]) -> VideoSample:
    """The clip with each point asked for in the given frame, where it is."""
    return replace(sample, queries=Queries(xy=positions(sample.tracks, frame), frame=frame))


def moves(sample: VideoSample) -> Bool[Tensor, " N"]:
    """Whether a point is seen far from where it first was."""
    start = positions(sample.tracks, earliest(seen(sample)))
    away = (sample.tracks - start).abs() * seen(sample)[..., None]  # T N 2
    return away.amax(0).amax(-1) > FAST * max(sample.video.shape[-2:])


def hides(sample: VideoSample) -> Bool[Tensor, " N"]:
    """Whether a point is known to be hidden in some frame after it was seen."""
    after = torch.arange(len(sample.visible))[:, None] > earliest(seen(sample))
    return (after & sample.labelled & ~sample.visible).any(0)
