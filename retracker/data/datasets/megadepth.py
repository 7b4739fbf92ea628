"""MegaDepth with the pair index of LoFTR (also ELoFTR, XFeat, ReTracker) or of DKM and RoMa.

    <root>/index/trainvaltest_list/train_list.txt              0001_0.1_0.3, ... one a line
    <root>/index/scene_info_0.1_0.7/0001_0.1_0.3.npz           see scene_info.py
    <root>/train/Undistorted_SfM/0001/images/<name>.jpg        undistorted by D2-Net's script
    <root>/train/phoenix/S6/zl548/MegaDepth_v1/0001/dense0/depths/<name>.h5

The depth files lie beside MegaDepth's own images, ``dense0/imgs``, which no index has intrinsics of.
"""

from pathlib import PurePosixPath

from retracker.data.cache import DiskCache
from retracker.data.indexed_pairs import IndexedPairs, read_depth
from retracker.data.pairs import View, read_size
from retracker.data.scene_info import IndexFiles, read_index, read_pair_infos
from retracker.data.storage import Storage


class MegaDepth(IndexedPairs):
    """Pairs of MegaDepth. The unit of depth and poses is each scene's own.

    Where an undistorted image is missing, MegaDepth's own (``dense0/imgs``) is taken if it is as large as
    the depth map, for which the intrinsics hold; else ValueError.
    """

    def __init__(
        self, root: str, images: str, index: IndexFiles, size: int, cache: DiskCache | None = None
    ) -> None:
        storage = Storage(root, cache)
        infos = read_index(storage, index, read_pair_infos, "pair infos")
        super().__init__(storage, images, infos, "megadepth", size)

    def view(self, index: int, side: int) -> View:
        try:
            return super().view(index, side)
        except FileNotFoundError:
            number = self.pairs[index, side]
            image, depth = self.paths(number)
            other = str(PurePosixPath(depth).parent.parent / "imgs" / PurePosixPath(image).name)
            if not self.storage.exists(other):
                raise
        expected, found = self.storage.load(depth, read_depth).shape, read_size(self.storage, other)
        if found != expected:
            raise ValueError(
                f"{self.storage.where(image)}: no such file, and {other} has {found} (height, width), "
                f"which differs from its depth, {expected}"
            )
        return self.posed(number, other, depth)
