"""Films that trackers have labelled (``tools/self_train.py``), in the files of ``tracks_folder``.

A teacher that is sure of a place says little about when a point is hidden: of places labelled "hidden" in
rendered clips a fifth was visible.
"""

from collections.abc import Sequence
from dataclasses import replace

from retracker.data.cache import DiskCache
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.types import VideoSample

NAME = "pseudo_labels"  # of its clips: losses know by it that labels are not exact


class PseudoLabels(TracksFolder):
    """Clips with pseudo-labels; unless ``hidden``, nothing is known of places where no point is seen."""

    def __init__(self, root: str, *, hidden: bool, cache: DiskCache | None = None) -> None:
        super().__init__(root, cache)
        self.hidden = hidden

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        sample = super().read(index, frames)
        labelled = sample.labelled if self.hidden else sample.labelled & sample.visible
        return replace(sample, labelled=labelled, name=f"{NAME}/{self.clips[index][0]}")
