"""EgoPoints: films of EPIC-Kitchens in which people followed points by hand, also out of view and back.

    <root>/<seq>/rgbs/frame_0000000001.jpg ...
    <root>/<seq>/annot.npz                     trajs_2d (T,N,2), and (T,N) each: valids, visibs, vis_valids,
                                               out_of_view, occluded

``valids`` says where a position was annotated, ``vis_valids`` where ``visibs`` means something (it is 0 by
default). Only some frames are annotated. Coordinates are taken as raster pixels: the authors' evaluation
rescales them by the ratio of widths alone.
"""

import numpy as np

from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import FrameFolders, Meaning, Stored, beside, find_clips, told
from retracker.data.storage import Storage

MASKS = ("valids", "visibs", "vis_valids", "out_of_view", "occluded")


class EgoPoints(FrameFolders):
    """Every recording below ``root``. Raises ValueError if there is none."""

    def __init__(self, root: str, cache: DiskCache | None = None) -> None:
        storage = Storage(root, cache)
        clips = find_clips(storage, "", beside("rgbs", "annot.npz"), "<seq>/rgbs beside <seq>/annot.npz")
        super().__init__("egopoints", storage, clips)

    def stored(self, path: str) -> Stored:
        """Positions and the five masks."""
        tracks, *masks = self.storage.arrays(path, ("trajs_2d", *MASKS))
        return Stored(tracks=tracks, masks=dict(zip(MASKS, masks, strict=True)))

    def meaning(self, masks: dict[str, np.ndarray]) -> Meaning:
        """A point out of view or occluded is known to be hidden; out of view, its position is not known."""
        valid, seen, known, outside, occluded = (told(masks[name]) for name in MASKS)
        hidden = outside | occluded
        return Meaning(visible=seen & known & ~hidden, labelled=known | hidden, located=valid & ~outside)
