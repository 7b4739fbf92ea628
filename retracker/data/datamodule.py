"""The data of a run: one endless training stream and a fixed validation set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from retracker.data.augment import Transform
from retracker.data.faults import CORRUPT, DataFault
from retracker.data.mixture import Mixture
from retracker.data.pairs import Pairs
from retracker.data.sources import Pairing, Source, Window, as_source
from retracker.data.stream_module import StreamModule
from retracker.data.warp import known_absent
from retracker.types import DenseFlow, Noise, Queries, VideoSample, stack


class DataModule(StreamModule):
    """Mix ``train`` by ``weights`` (1 where not given); ``val`` is read in order, clip by clip.

    Recordings become clips as ``window`` says, posed pairs as ``pairing`` says; other data sets hold clips
    already. ``distinct``: the stream repeats its first so many samples, and these are validated on, to see
    whether they can be learned by heart; None: it has no end. Raises ValueError for a source or weight that
    makes no sense.
    """

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        train: Mapping[str, Dataset | Source],
        weights: Mapping[str, float | int],
        val: Dataset[VideoSample],
        window: Window,
        pairing: Pairing,
        block: int,
        distinct: int | None,
        transform: Transform,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        if isinstance(val, Pairs):
            raise ValueError(f"data.val: {type(val).__name__} holds pairs: PairExcerpts makes clips of them")
        sources = {name: _source(name, dataset, window, pairing) for name, dataset in train.items()}
        stream = Mixture(sources, weights, transform, seed, block, distinct)
        super().__init__(
            stream=stream,
            val=Padded(val if distinct is None else Subset(stream, range(distinct))),
            collate=collate,
            batch_size=batch_size,
            num_workers=num_workers,
        )

    def train_dataloader(self) -> DataLoader:
        """As of any stream. Raises ValueError where a batch would have clips of two lengths."""
        self._check_block(self.batch_size * self.trainer.world_size)
        return super().train_dataloader()

    def _check_block(self, together: int) -> None:
        lengths, block, distinct = self.stream.kinds.lengths, self.stream.block, self.stream.distinct
        if len(lengths) > 1 and distinct is not None and distinct > block and distinct % block:
            raise ValueError(
                f"data: clips of {' and '.join(map(str, lengths))} frames are mixed, so that data.distinct "
                f"must be at most data.block, {block}, or a multiple of it, got {distinct}"
            )
        if len(lengths) > 1 and block % together:
            raise ValueError(
                f"data: clips of {' and '.join(map(str, lengths))} frames are mixed, so that data.block must "
                f"be a multiple of the {together} clips of one batch over all processes, got {block}"
            )
        if len(lengths) > 1 and self._samples_read() % together:
            raise ValueError(
                f"data: clips of {' and '.join(map(str, lengths))} frames are mixed, and what was read of "
                f"them, {self._samples_read()}, is no multiple of the {together} clips of one batch over all "
                "processes: go on with as many as before (global_batch lets the number change)"
            )


def _source(name: str, dataset: Dataset | Source, window: Window, pairing: Pairing) -> Source:
    try:
        return as_source(dataset, window, pairing)
    except ValueError as error:
        raise ValueError(f"data.train.{name}: {error}") from error


class Padded(Dataset[VideoSample]):
    """Clips that begin again after the last one, then without labels: such a clip counts for nothing.

    None is skipped, or scores could not be compared: raises DataFault for one that cannot be read.
    """

    def __init__(self, clips: Dataset[VideoSample]) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, position: int) -> VideoSample:
        index, first = position % len(self.clips), position < len(self.clips)
        try:
            clip = self.clips[index]
        except CORRUPT as error:
            raise DataFault(f"data.val: clip {index} cannot be read: {error}") from error
        return replace(clip, labelled=clip.labelled & first, located=clip.located & first)


def collate(samples: Sequence[VideoSample]) -> VideoSample:
    """Stack clips of one size; points are padded by ones that are neither labelled nor located.

    Where some clip has dense flow, the others get one that is valid nowhere. Raises ValueError if frames
    differ in number or size.
    """
    shapes = [tuple(sample.video.shape) for sample in samples]
    if len(set(shapes)) > 1:
        found = ", ".join(f"{sample.name} {shape}" for sample, shape in zip(samples, shapes, strict=True))
        raise ValueError(f"clips of one batch must agree in frames, height and width, got {found}")
    num_points = max(sample.tracks.shape[-2] for sample in samples)
    padded = [pad_points(sample, num_points) for sample in samples]
    if any(sample.flow is not None for sample in padded):
        padded = [replace(sample, flow=stackable(sample.flow, sample.video)) for sample in padded]
    return stack(padded)


def stackable(flow: DenseFlow | None, video: UInt8[Tensor, "T 3 H W"]) -> DenseFlow:
    """A clip's flow with every field; of one that has none, nothing is known."""
    if flow is not None:
        return replace(flow, absent=known_absent(flow))
    num_frames, _, height, width = video.shape
    nowhere = torch.zeros(num_frames, height, width, dtype=torch.bool)
    return DenseFlow(displacement=torch.zeros(*nowhere.shape, 2), valid=nowhere, absent=nowhere)


def pad_points(sample: VideoSample, num_points: int) -> VideoSample:
    """Add points without supervision, born in frame 0 at its corner, until an unbatched clip has so many."""
    missing = num_points - sample.tracks.shape[-2]

    def tail(values: Tensor, axes_after: int) -> Tensor:
        return F.pad(values, (0, 0) * axes_after + (0, missing))

    noise = sample.noise
    if noise is not None:
        noise = Noise(choice=tail(noise.choice, 0), jitter=tail(noise.jitter, 1), drop=tail(noise.drop, 0))
    return replace(
        sample,
        queries=Queries(xy=tail(sample.queries.xy, 1), frame=tail(sample.queries.frame, 0)),
        tracks=tail(sample.tracks, 1),
        visible=tail(sample.visible, 0),
        labelled=tail(sample.labelled, 0),
        located=tail(sample.located, 0),
        noise=noise,
    )
