"""The endless training stream: which clip comes n-th, how it is changed, and what noise goes with it."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from retracker.data.augment import Transform
from retracker.data.faults import CorruptSample, DataFault, Faults
from retracker.data.recordings import Unusable
from retracker.data.sources import Source
from retracker.types import Noise, TensorStruct, VideoSample

NOISE = 1  # the noise has a stream of its own: no change of augmentation moves it
KIND = 3  # and so has the order of kinds; 2 is what WarpedImages draws from
PATIENCE = 100  # draws in a row of one source that may show nothing to learn from
GOLDEN = (5**0.5 - 1) / 2


class NothingUsable(DataFault):
    """A source whose files are sound shows nothing to learn from, however often one draws."""


class Mixture(Dataset[VideoSample]):
    """Clips of several sources in given proportions, for ever.

    Its n-th sample is a pure function of the seed and n: neither the number of GPUs nor of workers nor a
    restart changes the stream. A corrupt sample is named, counted and replaced, again by seed and n alone.
    Clips of different lengths cannot be stacked: of each ``block`` of positions all have one length.
    ``distinct``: after so many samples the stream begins again; None: never.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float | int],
        transform: Transform,
        seed: int,
        block: int,
        distinct: int | None,
    ) -> None:
        if not sources or weights.keys() - sources.keys():
            raise ValueError(
                f"mixture: weights name {', '.join(weights) or 'nothing'}; "
                f"the data sets are {', '.join(sources) or 'none'}"
            )
        share = np.array([weights.get(name, 1.0) for name in sources], dtype=float)
        if not np.isfinite(share).all() or (share < 0).any() or share.sum() == 0:
            raise ValueError(f"mixture: weights must be >= 0 and not all 0, got {share.tolist()}")
        if block < 1 or (distinct is not None and distinct < 1):
            raise ValueError(
                f"mixture: block and distinct (if not null) must be at least 1, got {block} and {distinct}"
            )
        self.names, self.sources = list(sources), list(sources.values())
        self.transform, self.seed, self.block, self.distinct = transform, seed, block, distinct
        self.kinds = Kinds([source.num_frames for source in self.sources], share, seed)
        self.faults = Faults(self.names)

    def __getitem__(self, position: int) -> TensorStruct:
        position = position if self.distinct is None else position % self.distinct
        chance = self.kinds.chance(position // self.block)
        attempt = 0
        while True:
            rng = np.random.default_rng((self.seed, position, attempt) if attempt else (self.seed, position))
            which = int(rng.choice(len(self.sources), p=chance))
            try:
                sample = self._usable(which, rng)
            except CorruptSample as error:
                self.faults.broken(which, error)
                attempt += 1
                continue
            self.faults.sound(which)
            return self.finished(sample, position)

    def finished(self, sample: VideoSample, position: int) -> VideoSample:
        """What the stream has at a position, once its sample is drawn: that, with its noise."""
        return with_noise(sample, np.random.default_rng((self.seed, position, 0, NOISE)))

    def _usable(self, which: int, rng: np.random.Generator) -> TensorStruct:
        """A clip of one source with something to learn from: drawn again, never exchanged for another's."""
        for _ in range(PATIENCE):
            try:
                return self.transform(self.sources[which].draw(rng), rng)
            except Unusable as error:
                reason = error
        raise NothingUsable(
            f"{self.names[which]}: nothing to learn from in {PATIENCE} draws in a row, the last one: {reason}"
        )


class Kinds:
    """How long the clips of each block of the stream are, and which sources they come from.

    Blocks of each length are spread as evenly as their share allows (a golden ratio sequence): chance would
    keep to the shares only over thousands of blocks.
    """

    def __init__(self, lengths: list[int | None], share: np.ndarray, seed: int) -> None:
        self.lengths = list(dict.fromkeys(n for n, part in zip(lengths, share, strict=True) if part > 0))
        of_kind = np.array([[n == length for n in lengths] for length in self.lengths])  # kinds, sources
        self.upto = np.cumsum((of_kind * share).sum(1)) / share.sum()
        self.chances = of_kind * share / (of_kind * share).sum(1, keepdims=True)
        self.offset = np.random.default_rng((seed, 0, 0, KIND)).random()

    def chance(self, block: int) -> np.ndarray:
        """The chance of each source in a block."""
        turn = (self.offset + block * GOLDEN) % 1.0
        return self.chances[min(np.searchsorted(self.upto, turn, side="right"), len(self.lengths) - 1)]


class Positions(Sampler[int]):
    """The positions of the stream that one rank reads: ``start``, ``start + step``, and so on for ever."""

    def __init__(self, start: int, step: int) -> None:
        self.start, self.step = start, step

    def __iter__(self) -> Iterator[int]:
        position = self.start
        while True:
            yield position
            position += self.step


def with_noise(sample: VideoSample, rng: np.random.Generator) -> VideoSample:
    """Give an unbatched clip the random numbers that training may use on it."""
    shape = tuple(sample.visible.shape)  # T N
    noise = Noise(
        choice=torch.from_numpy(rng.random(shape, dtype=np.float32)),
        jitter=torch.from_numpy(rng.standard_normal((*shape, 2), dtype=np.float32)),
        drop=torch.from_numpy(rng.random(shape, dtype=np.float32)),
    )
    return replace(sample, noise=noise)
