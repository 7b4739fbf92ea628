"""PointOdyssey: long rendered films of people, animals and robots, with thousands of points each.

    <root>/<split>/<seq>/rgbs/rgb_00000.jpg ...
    <root>/<split>/<seq>/anno.npz              (annotations.npz in the first release)
        trajs_2d (T,N,2), visibs or visibilities (T,N), from release 1.2 on valids (T,N)

Coordinates are raster pixels: the generator projects with a principal point of (W/2, H/2), and looks a
point up in the pixel of its floor. What is stored as half floats has lost up to 0.25 px beyond 512 px.
Visibility is 0, 1, or, where the depth is behind the camera or out of range, 2: then neither it nor the
position is known, no more than where ``valids`` is false or the position is not finite.
"""

import numpy as np

from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import FrameFolders, Meaning, Stored, beside, find_clips, told
from retracker.data.npz import npz_names
from retracker.data.storage import Storage

LABELS = ("anno.npz", "annotations.npz")
VISIBLE = ("visibs", "visibilities")
NO_DEPTH = 2


class PointOdyssey(FrameFolders):
    """The recordings of one split. Raises ValueError if there is none."""

    def __init__(self, root: str, split: str, cache: DiskCache | None = None) -> None:
        storage = Storage(root, cache)
        clips = find_clips(storage, split, beside("rgbs", *LABELS), "<seq>/rgbs beside <seq>/anno.npz")
        super().__init__("pointodyssey", storage, clips)

    def stored(self, path: str) -> Stored:
        """Either spelling of visibility, and validity where it is stored."""
        there = self.storage.load(path, npz_names)
        names = {"visible": VISIBLE[1] if VISIBLE[1] in there else VISIBLE[0]}
        names |= {"valid": "valids"} if "valids" in there else {}
        tracks, *masks = self.storage.arrays(path, ("trajs_2d", *names.values()))
        return Stored(tracks=tracks, masks=dict(zip(names, masks, strict=True)))

    def meaning(self, masks: dict[str, np.ndarray]) -> Meaning:
        """Nothing is known of a point without a depth, or one that is not valid."""
        known = masks["visible"] != NO_DEPTH
        if "valid" in masks:
            known &= told(masks["valid"])
        return Meaning(visible=told(masks["visible"]) & known, labelled=known, located=known)
