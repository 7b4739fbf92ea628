"""ScanNet++ with ReTracker's pair index: LoFTR's of MegaDepth, but with ``dataset_name`` and depth in png.

    <root>/scannet_plus/matching_indices_0.1_0.7_0.0/train_list.txt
    <root>/scannet_plus/matching_indices_0.1_0.7_0.0/scene_info/<scene>.npz       see scene_info.py
    <root>/<dataset_name>/<image path>  <root>/<dataset_name>/<depth path>        16-bit png in millimetres

No public script makes these files: images must have been undistorted (the DSLR's are fisheye).
"""

from retracker.data.cache import DiskCache
from retracker.data.indexed_pairs import IndexedPairs
from retracker.data.scene_info import IndexFiles, read_index, read_pair_infos
from retracker.data.storage import Storage


class ScanNetPP(IndexedPairs):
    """Pairs of ScanNet++, in metres."""

    def __init__(
        self, root: str, images: str, index: IndexFiles, size: int, cache: DiskCache | None = None
    ) -> None:
        storage = Storage(root, cache)
        infos = read_index(storage, index, read_pair_infos, "pair infos")
        super().__init__(storage, images, infos, "scannetpp", size)
