"""Films that trackers have labelled (``tools/self_train.py``): places are known, hiding rather not.

The files are those of ``tracks_folder``. A teacher that is sure of a place says little about when a point is
hidden: what is labelled is nearly always visible, and a student would learn to see everything, everywhere.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from retracker.data.cache import DiskCache
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.types import VideoSample


class PseudoLabels(TracksFolder):
    """Clips with pseudo-labels; unless ``visibility`` is on, nothing is learnt of visibility and confidence.

    As CoTracker3 (Karaev et al., 2024, section 3.4) does it: those are learnt where the truth is exact.
    """

    def __init__(self, root: str, *, visibility: bool, cache: DiskCache | None = None) -> None:
        super().__init__(root, cache)
        self.visibility = visibility

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        sample = super().read(index, frames)
        if self.visibility:
            return sample
        return replace(sample, labelled=torch.zeros_like(sample.labelled))
