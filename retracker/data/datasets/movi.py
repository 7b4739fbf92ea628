"""Kubric's MOVi-E, MOVi-F and panning MOVi-E as ``tools/convert_movi.py`` writes them, with derived tracks.

    <root>/train/00000/000.png ... 023.png
    <root>/train/00000.npz   tracks (T,N,2), raster px, nan behind the camera; visible (T,N)

Nothing is converted here; all is labelled, also where a point is hidden. ``movi_tracks.py`` says how.
"""

from collections.abc import Sequence
from dataclasses import replace

from retracker.data.cache import DiskCache
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.types import VideoSample


class Movi(TracksFolder):
    """One split of a converted set; each clip is a scene of its own. Raises as ``TracksFolder`` does."""

    def __init__(self, root: str, name: str, split: str, cache: DiskCache | None = None) -> None:
        self.folder = f"{name}/{split}"
        super().__init__(f"{root}/{split}", cache)

    def scene(self, index: int) -> str:
        """The clip."""
        return self.clips[index][0]

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames, under the name of the set."""
        return replace(super().read(index, frames), name=f"{self.folder}/{self.clips[index][0]}")
