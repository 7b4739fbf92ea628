"""K-EPIC: Kubric's objects flying through films of EPIC-Kitchens' cameras, 24 frames each.

    <root>/<split>/<seq>/rgbs/*.jpg
    <root>/<split>/<seq>/annot.npz             trajs_2d (T,N,2), visibs and valids (T,N)

Coordinates are taken as raster pixels, as those of all sets that Kubric renders: no evidence was found.
"""

import numpy as np

from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import FrameFolders, Meaning, Stored, beside, find_clips, told
from retracker.data.storage import Storage


class KEpic(FrameFolders):
    """The recordings of one split. Raises ValueError if there is none."""

    def __init__(self, root: str, split: str, cache: DiskCache | None = None) -> None:
        storage = Storage(root, cache)
        clips = find_clips(storage, split, beside("rgbs", "annot.npz"), "<seq>/rgbs beside <seq>/annot.npz")
        super().__init__("k_epic", storage, clips)

    def stored(self, path: str) -> Stored:
        """Positions, visibility and validity."""
        tracks, visible, valid = self.storage.arrays(path, ("trajs_2d", "visibs", "valids"))
        return Stored(tracks=tracks, masks={"visible": visible, "valid": valid})

    def meaning(self, masks: dict[str, np.ndarray]) -> Meaning:
        """Nothing is known where a point is not valid."""
        valid = told(masks["valid"])
        return Meaning(visible=told(masks["visible"]), labelled=valid, located=valid)
