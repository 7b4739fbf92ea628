"""MegaDepth-1500: two outdoor scenes in bins of overlap, by the index files that LoFTR distributes.

    0015_0.1_0.3.npz ...                         five pickled dicts of 300 pairs each: see data/scene_info.py
    Undistorted_SfM/0015/images/<name>.jpg

Its intrinsics are COLMAP's, of the stored image in raster pixels. LoFTR's code gives them pixel indices, half
a pixel less, nevertheless (see pose_protocol.py). Depth is not needed.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import torch

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.pose_protocol import PoseProtocol
from retracker.benchmarks.posed import PoseBenchmark, PosedPair, checked_pair, motion_between
from retracker.benchmarks.presence import check_found
from retracker.data.scene_info import IndexFiles, read_pair_infos
from retracker.data.storage import Storage
from retracker.media.image import as_video, read_frame

TITLE = "MegaDepth-1500"
WHOLE = 1500  # pairs


def every_pair(folder: str) -> IndexFiles:
    """Whatever its overlap; an unknown one is negative."""
    return IndexFiles(
        folder=folder, scenes=None, without=[], min_overlap=-math.inf, max_overlap=math.inf, max_pairs=None
    )


class MegaDepth1500(PoseBenchmark):
    """The pairs of some index files, which are its groups; paths in them start below ``images``."""

    def __init__(
        self,
        name: str,
        root: str,
        needs: Sequence[str],
        scenes: Sequence[str],
        images: str,
        protocol: PoseProtocol,
    ) -> None:
        super().__init__(name, TITLE, protocol)
        folder = str(PurePosixPath(check_found(root, needs, TITLE)).parent)
        self.storage, self.folder, self.images = Storage(root, None), folder, images
        read = partial(read_pair_infos, index=every_pair(folder))
        self.scenes = {scene: self.storage.load(f"{folder}/{scene}.npz", read) for scene in scenes}
        self.items = [(scene, pair) for scene in scenes for pair in range(len(self.scenes[scene].pairs))]
        if not self.items:
            raise ValueError(f"{self.storage.where(folder)}: the index files list no pair that has images")
        self.count_pairs(len(self.items), WHOLE)

    def __len__(self) -> int:
        return len(self.items)

    def item_name(self, index: int) -> str:
        """Such as 0015_0.1_0.3/007/<image>-<image>."""
        scene, pair = self.items[index]
        first, second = (PurePosixPath(path).stem for path in self._paths(index))
        return f"{scene}/{pair:03d}/{first}-{second}"

    def group(self, index: int) -> str:
        """Scene and bin of overlap."""
        return self.items[index][0]

    def read(self, index: int) -> PosedPair:
        scene, pair = self.items[index]
        info = self.scenes[scene]
        name, (view0, view1) = self.item_name(index), info.pairs[pair]
        where = f"{self.storage.where(f'{self.folder}/{scene}.npz')}: {name}"
        images = [as_video([self.storage.load(path, read_frame)])[0] for path in self._paths(index)]
        cameras = [
            FileCamera(
                intrinsics=torch.from_numpy(info.intrinsics[view].copy()),
                size=tuple(image.shape[-2:]),
                turns=0,
            )
            for view, image in zip((view0, view1), images, strict=True)
        ]
        return checked_pair(
            PosedPair(
                image0=images[0],
                image1=images[1],
                intrinsics0=cameras[0].intrinsics,
                intrinsics1=cameras[1].intrinsics,
                file_camera0=cameras[0],
                file_camera1=cameras[1],
                pose_0to1=motion_between(info.poses[view0], info.poses[view1], where),
                name=name,
            ),
            where,
        )

    def _paths(self, index: int) -> list[str]:
        scene, pair = self.items[index]
        info = self.scenes[scene]
        paths = (info.images[view].decode() for view in info.pairs[pair])
        return [str(PurePosixPath(self.images, path)) for path in paths]
