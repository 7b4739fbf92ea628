"""The endless training stream: which clip comes n-th, how it is changed, and what noise goes with it."""

import multiprocessing
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from retracker.data.augment import Transform
from retracker.types import Noise, VideoSample

# What a damaged file raises, whatever codec reads it. A fault of ours among them soon fails more than 1 %.
CORRUPT = (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile)
TOLERATED_SHARE = 0.01  # of all samples drawn; above it a data set is broken, not unlucky
FEW = 100  # samples: below this many, the share says nothing
NOISE = 1  # the noise has a stream of its own: no change of augmentation moves it


class TooManyCorruptSamples(RuntimeError):
    """More samples fail than bad luck explains: training must not go on as if nothing were wrong."""


class Mixture(Dataset[VideoSample]):
    """Clips of several data sets in given proportions, for ever.

    Its n-th sample is a pure function of the seed and n: neither the number of GPUs nor of workers nor a
    restart changes the stream. A corrupt sample is named, counted and replaced, again by seed and n alone.
    """

    def __init__(
        self,
        sources: Mapping[str, Dataset[VideoSample]],
        weights: Mapping[str, float],
        transform: Transform,
        seed: int,
    ) -> None:
        if not sources or weights.keys() - sources.keys():
            raise ValueError(
                f"mixture: weights name {', '.join(weights) or 'nothing'}; "
                f"the data sets are {', '.join(sources) or 'none'}"
            )
        self.names, self.sources = list(sources), list(sources.values())
        self.transform, self.seed = transform, seed
        share = np.array([weights.get(name, 1.0) for name in sources])
        if (share < 0).any() or share.sum() == 0:
            raise ValueError(f"mixture: weights must be >= 0 and not all 0, got {share.tolist()}")
        self.chance = share / share.sum()
        self.counts = multiprocessing.get_context("spawn").Array("q", 2)  # drawn, corrupt: over all workers

    def __getitem__(self, position: int) -> VideoSample:
        attempt = 0
        while True:
            rng = np.random.default_rng((self.seed, position, attempt) if attempt else (self.seed, position))
            name, index, source = self._choose(rng)
            try:
                sample = source[index]
            except CORRUPT as error:
                self._count(corrupt=1, place=f"{name}[{index}]", reason=error)
                attempt += 1
                continue
            self._count(corrupt=0)
            noise = np.random.default_rng((self.seed, position, 0, NOISE))
            return with_noise(self.transform(sample, rng), noise)

    def _choose(self, rng: np.random.Generator) -> tuple[str, int, Dataset[VideoSample]]:
        which = rng.choice(len(self.sources), p=self.chance)
        source = self.sources[which]
        return self.names[which], int(rng.integers(len(source))), source

    def _count(self, corrupt: int, place: str = "", reason: Exception | None = None) -> None:
        with self.counts.get_lock():
            self.counts[0] += 1
            self.counts[1] += corrupt
            drawn, failed = self.counts
        if not corrupt:
            return
        warnings.warn(f"skipped corrupt sample {place} ({failed} so far): {reason}", stacklevel=3)
        if failed > TOLERATED_SHARE * max(drawn, FEW):
            raise TooManyCorruptSamples(
                f"{failed} of {drawn} samples could not be read, the last one {place}: {reason}"
            ) from reason


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
