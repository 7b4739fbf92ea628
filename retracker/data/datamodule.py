"""The data of a run: one endless training stream and a fixed validation set."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from pytorch_lightning.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from retracker.data.augment import Transform
from retracker.data.faults import CORRUPT, DataFault
from retracker.data.mixture import Mixture, Positions
from retracker.data.pairs import Pairs
from retracker.data.sources import Pairing, Source, Window, as_source
from retracker.data.warp import known_absent
from retracker.data.workers import settle
from retracker.types import DenseFlow, Noise, Queries, VideoSample, stack


class DataModule(pl.LightningDataModule):
    """Mix ``train`` by ``weights`` (1 where not given); ``val`` is read in order, clip by clip.

    Recordings become clips as ``window`` says, posed pairs as ``pairing`` says; other data sets hold clips
    already. Raises ValueError for a source or weight that makes no sense.
    """

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        train: Mapping[str, Dataset | Source],
        weights: Mapping[str, float | int],
        val: Dataset[VideoSample],
        window: Window,
        pairing: Pairing,
        block: int,
        transform: Transform,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        super().__init__()
        whole = isinstance(batch_size, int) and isinstance(num_workers, int)
        if not whole or batch_size < 1 or num_workers < 0:
            raise ValueError(
                f"data: batch_size must be >= 1 and num_workers >= 0, got {batch_size!r} and {num_workers!r}"
            )
        if isinstance(val, Pairs):
            raise ValueError(f"data.val: {type(val).__name__} holds pairs: PairExcerpts makes clips of them")
        self.batch_size, self.num_workers, self.val = batch_size, num_workers, val
        sources = {name: _source(name, dataset, window, pairing) for name, dataset in train.items()}
        self.stream = Mixture(sources, weights, transform, seed, block)
        self._loaders: list[DataLoader] = []

    def train_dataloader(self) -> DataLoader:
        """The stream from where this run stands. Ranks take turns, so each batch is a run of positions."""
        trainer = self.trainer
        self._check_block(self.batch_size * trainer.world_size)
        batches = trainer.global_step * trainer.accumulate_grad_batches
        start = batches * self.batch_size * trainer.world_size + trainer.global_rank
        return self._loader(self.stream, Positions(start, trainer.world_size), self.batch_size)

    def val_dataloader(self) -> DataLoader:
        """Every ``world_size``-th clip, one at a time, and as many clips on each rank: ranks go in step."""
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        positions = range(rank, ceil(len(self.val) / world_size) * world_size, world_size)
        return self._loader(Padded(self.val), positions, batch_size=1)

    def teardown(self, stage: str) -> None:  # noqa: ARG002  Lightning's signature
        """Say in the end what had to be skipped."""
        if report := self.stream.faults.report():
            warnings.warn(report, stacklevel=2)

    def on_exception(self, exception: BaseException) -> None:  # noqa: ARG002  Lightning's signature
        """End all workers: Lightning ends those of training or of validation, whichever was under way."""
        CombinedLoader(self._loaders).reset()

    def _check_block(self, together: int) -> None:
        lengths, block = self.stream.kinds.lengths, self.stream.block
        if len(lengths) > 1 and block % together:
            raise ValueError(
                f"data: clips of {' and '.join(map(str, lengths))} frames are mixed, so that data.block must "
                f"be a multiple of the {together} clips of one batch over all processes, got {block}"
            )

    def _loader(self, source: Dataset[VideoSample], positions: Sequence[int] | Positions, batch_size: int):
        loader = DataLoader(
            source,
            sampler=positions,
            batch_size=batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=collate,
            worker_init_fn=settle,
            pin_memory=torch.cuda.is_available(),
        )
        self._loaders.append(loader)
        return loader


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
