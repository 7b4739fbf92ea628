"""The data of a run that learns from keypoints: pairs of images by their features."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from retracker.data.faults import CORRUPT, DataFault
from retracker.data.feature_pairs import Extractor, FeatureSource, FixedPairs, Views, collate
from retracker.data.mixture import Mixture
from retracker.data.stream_module import StreamModule
from retracker.types import FeaturePair


class FeatureDataModule(StreamModule):
    """Mix the views of ``train`` by ``weights`` (1 where not given); of ``val`` there are ``val_pairs``.

    Keypoints are found by ``extractor`` in the workers. Of a pair at least ``min_known`` keypoints of each
    image are seen in the other.
    """

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        train: Mapping[str, Views],
        weights: Mapping[str, float | int],
        val: Views,
        val_pairs: int,
        val_seed: int,
        extractor: Extractor,
        min_known: int,
        batch_size: int,
        num_workers: int,
        seed: int,
    ) -> None:
        sources = {name: FeatureSource(views, extractor, min_known) for name, views in train.items()}
        fixed = FixedPairs(FeatureSource(val, extractor, min_known), val_pairs, val_seed)
        super().__init__(
            stream=FeatureStream(sources, weights, as_drawn, seed, block=1, distinct=None),
            val=PaddedPairs(fixed),
            collate=collate,
            batch_size=batch_size,
            num_workers=num_workers,
        )


class FeatureStream(Mixture):
    """A mixture of pairs of features, which need no noise."""

    def finished(self, sample: FeaturePair, position: int) -> FeaturePair:  # noqa: ARG002
        return sample


class PaddedPairs(Dataset[FeaturePair]):
    """Pairs that begin again after the last one, then with nothing known: such a pair counts for nothing.

    None is skipped, or scores could not be compared: raises DataFault for one that cannot be read.
    """

    def __init__(self, pairs: FixedPairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, position: int) -> FeaturePair:
        index, first = position % len(self.pairs), position < len(self.pairs)
        try:
            pair = self.pairs[index]
        except CORRUPT as error:
            raise DataFault(f"data.val: pair {index} cannot be read: {error}") from error
        return replace(pair, known0=pair.known0 & first, known1=pair.known1 & first)


def as_drawn(sample: FeaturePair, rng: np.random.Generator) -> FeaturePair:  # noqa: ARG001
    """What a stream without augmentation does to its samples."""
    return sample
