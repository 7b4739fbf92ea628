"""MegaDepth with the scene files of D2-Net, DISK, FeatureBooster and glue-factory.

    <root>/scene_info/0001.npz                               see scene_info.py; overlap of any two views
    <root>/Undistorted_SfM/0001/images/<name>.jpg
    <root>/phoenix/S6/zl548/MegaDepth_v1/0001/dense0/depths/<name>.h5

The folders of images are those of D2-Net's own script, of the list of scenes any of the four.
"""

from functools import partial

from retracker.data.cache import DiskCache
from retracker.data.indexed_pairs import IndexedPairs
from retracker.data.scene_info import IndexFiles, read_index, read_overlap_matrix
from retracker.data.storage import Storage


class MegaDepthD2Net(IndexedPairs):
    """Pairs of MegaDepth by D2-Net's overlap: the share of a view's 3-D points that the other sees, too."""

    def __init__(
        self,
        root: str,
        images: str,
        index: IndexFiles,
        max_scale_ratio: float | int,
        size: int,
        cache: DiskCache | None = None,
    ) -> None:
        if max_scale_ratio < 1:
            raise ValueError(f"max_scale_ratio must be at least 1, got {max_scale_ratio}")
        storage = Storage(root, cache)
        read = partial(read_overlap_matrix, max_scale_ratio=max_scale_ratio)
        infos = read_index(storage, index, read, f"overlap matrix {max_scale_ratio}")
        super().__init__(storage, images, infos, "megadepth_d2net", size)
