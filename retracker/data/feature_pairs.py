"""Two views of something, by their keypoints: which views, found by what, and where each keypoint goes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from retracker.data.mixture import PATIENCE
from retracker.data.recordings import Unusable
from retracker.data.sources import Source
from retracker.data.storage import Storage
from retracker.types import FeaturePair, LocalFeatures, stack

# Where points of one view (px) are in the other, and whether that is known and they are seen there.
Move = Callable[[Float[Tensor, "N 2"]], tuple[Float[Tensor, "N 2"], Bool[Tensor, " N"]]]


@dataclass(frozen=True, kw_only=True)
class StoredAt:
    """The image file that a picture is a part of: a place of it is ``scale * place - corner`` here (px)."""

    storage: Storage
    path: str
    index: int  # of the sample of the data set that shows it
    size: tuple[int, int]  # height and width
    scale: tuple[float, float]  # x, y
    corner: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What keypoints are looked for in."""

    pixels: UInt8[Tensor, "3 H W"]
    stored: StoredAt | None = None  # None: it is no part of a file, but made


@dataclass(frozen=True, kw_only=True)
class TwoViews:
    """Two pictures, and where the points of each are in the other."""

    picture0: Picture
    picture1: Picture
    forth: Move
    back: Move
    name: str


class Views(ABC):
    """Two views of something, without end."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> TwoViews:
        """Two views; all that is random comes from ``rng``.

        Raises Unusable where others should be drawn, CorruptSample for files that cannot be read.
        """


class Extractor(ABC):
    """Finds the keypoints of pictures, in whichever way."""

    @abstractmethod
    def find(self, picture: Picture) -> LocalFeatures:
        """The keypoints of a picture, the surest first. Raises CorruptSample for broken files."""


class OnTheFly(Extractor):
    """Keypoints of the pixels themselves, by ``detector``."""

    def __init__(self, detector: Callable[[UInt8[Tensor, "3 H W"]], LocalFeatures]) -> None:
        self.detector = detector

    def find(self, picture: Picture) -> LocalFeatures:
        return self.detector(picture.pixels)


class FeatureSource(Source):
    """Pairs of images by their keypoints, at least ``min_known`` of each of which are seen in the other."""

    num_frames = None

    def __init__(self, views: Views, extractor: Extractor, min_known: int) -> None:
        if min_known < 1:
            raise ValueError(f"min_known must be at least 1, got {min_known}")
        self.views, self.extractor, self.min_known = views, extractor, min_known

    def draw(self, rng: np.random.Generator) -> FeaturePair:
        """One pair. Raises Unusable where too little of one image is seen in the other."""
        views = self.views.draw(rng)
        pair = feature_pair(views, self.extractor.find(views.picture0), self.extractor.find(views.picture1))
        if min(int(pair.known0.sum()), int(pair.known1.sum())) < self.min_known:
            raise Unusable(f"{pair.name}: fewer than {self.min_known} keypoints are seen in the other image")
        return pair


class FixedPairs(Dataset[FeaturePair]):
    """``length`` pairs, the n-th a pure function of the seed and n: what is validated on."""

    def __init__(self, source: FeatureSource, length: int, seed: int) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.source, self.length, self.seed = source, length, seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> FeaturePair:
        rng = np.random.default_rng((self.seed, index))
        for _ in range(PATIENCE):
            try:
                return self.source.draw(rng)
            except Unusable as error:
                reason = error
        raise ValueError(f"pair {index}: nothing to see in {PATIENCE} draws, the last one: {reason}")


def feature_pair(views: TwoViews, features0: LocalFeatures, features1: LocalFeatures) -> FeaturePair:
    """The keypoints of two views, and where those of each are in the other."""
    (moved0, known0), (moved1, known1) = views.forth(features0.xy), views.back(features1.xy)
    return FeaturePair(
        features0=features0,
        features1=features1,
        moved0=torch.where(known0[:, None], moved0, 0.0).float(),
        known0=known0 & features0.present,
        moved1=torch.where(known1[:, None], moved1, 0.0).float(),
        known1=known1 & features1.present,
        name=views.name,
    )


def collate(pairs: Sequence[FeaturePair]) -> FeaturePair:
    """Stack pairs; the images of each side get as many keypoints as the one with most, by padding."""
    most0 = max(pair.moved0.shape[0] for pair in pairs)
    most1 = max(pair.moved1.shape[0] for pair in pairs)
    return stack([padded(pair, most0, most1) for pair in pairs])


def padded(pair: FeaturePair, num0: int, num1: int) -> FeaturePair:
    """An unbatched pair with so many keypoints; those added are not present."""
    return replace(
        pair,
        features0=padded_features(pair.features0, num0),
        features1=padded_features(pair.features1, num1),
        moved0=_tail(pair.moved0, num0),
        known0=_tail(pair.known0, num0),
        moved1=_tail(pair.moved1, num1),
        known1=_tail(pair.known1, num1),
    )


def padded_features(features: LocalFeatures, num: int) -> LocalFeatures:
    """The keypoints of one image, with zeros behind them that are not present."""
    return replace(
        features,
        xy=_tail(features.xy, num),
        geometry=_tail(features.geometry, num),
        descriptors=_tail(features.descriptors, num),
        present=_tail(features.present, num),
    )


def _tail(values: Tensor, num: int) -> Tensor:
    return F.pad(values, (0, 0) * (values.ndim - 1) + (0, num - len(values)))
