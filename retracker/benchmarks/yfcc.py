"""YFCC100M's test pairs: four tourist sights, with SuperGlue's list of 4,000 pairs or our 1,500 of them.

    yfcc_test_pairs_with_gt.txt, or <scene>.npz    see data/pair_lists.py
    <scene>/test/images/<name>.jpg                 as OANet distributes them, in raw_data/yfcc100m

Some images lie on their side; the list says how to turn them, and they are matched upright, each with the
camera that would have taken it so. What EXIF says in the files themselves is not read.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath

import torch

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.pose_protocol import PoseProtocol
from retracker.benchmarks.posed import PoseBenchmark, PosedPair, check_camera
from retracker.benchmarks.presence import check_found, found
from retracker.data.pair_lists import ListedView, read_pairs
from retracker.data.storage import Storage
from retracker.geometry.camera import relative_pose
from retracker.geometry.quarter_turns import turn_image, turn_intrinsics, turn_pose
from retracker.media.image import as_video, read_frame

PUBLIC = 4000  # pairs, 1,000 of each scene
WHOLE = "the public list"
OURS = "a part of the public list, chosen by us: not to be compared with numbers on all 4,000 pairs"


class YFCC(PoseBenchmark):
    """The pairs of the lists that ``needs`` names, grouped by scene.

    The paths in them start below the first of ``images`` (folders below the root) that has the first one.
    ``pairs`` is how many there should be.
    """

    def __init__(
        self,
        name: str,
        title: str,
        root: str,
        needs: Sequence[str],
        images: Sequence[str],
        pairs: int,
        protocol: PoseProtocol,
    ) -> None:
        super().__init__(name, title, protocol)
        self.storage = Storage(root, None)
        check_found(root, needs, title)
        lists = next(paths for pattern in needs if (paths := found(root, [pattern])))
        self.pairs = [pair for path in lists for pair in self.storage.load(path, read_pairs)]
        self.folder = self._folder(images)
        self.protocol["upright"] = "by the quarter turns of the list"
        self.protocol["selection"] = WHOLE if pairs == PUBLIC else OURS
        self.count_pairs(len(self.pairs), pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def item_name(self, index: int) -> str:
        """Such as reichstag/2001/<image>-<image>, counted over all scenes from 0."""
        pair = self.pairs[index]
        return f"{pair.scene}/{index:04d}/{pair.view0.stem}-{pair.view1.stem}"

    def group(self, index: int) -> str:
        """The scene."""
        return self.pairs[index].scene

    def read(self, index: int) -> PosedPair:
        pair = self.pairs[index]
        image0, intrinsics0, turned0 = self._upright(pair.view0)
        image1, intrinsics1, turned1 = self._upright(pair.view1)
        moved = torch.from_numpy(pair.pose_0to1)
        return PosedPair(
            image0=image0,
            image1=image1,
            intrinsics0=intrinsics0,
            intrinsics1=intrinsics1,
            file_camera0=_as_listed(pair.view0, image0),
            file_camera1=_as_listed(pair.view1, image1),
            pose_0to1=relative_pose(turned0, turned1 @ moved),
            name=self.item_name(index),
        )

    def _upright(self, view: ListedView) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """An image, its camera, and how that is turned against the camera of the stored image."""
        path = str(PurePosixPath(self.folder, view.path))
        image = as_video([self.storage.load(path, read_frame)])[0]
        intrinsics = torch.from_numpy(view.raster_intrinsics)
        check_camera(intrinsics, (image.shape[-2], image.shape[-1]), self.storage.where(path))
        return (
            turn_image(image, view.turns),
            turn_intrinsics(intrinsics, tuple(image.shape[-2:]), view.turns),
            turn_pose(torch.eye(4, dtype=torch.float64), view.turns),
        )

    def _folder(self, folders: Sequence[str]) -> str:
        first = self.pairs[0].view0.path
        there = [folder for folder in folders if self.storage.exists(str(PurePosixPath(folder, first)))]
        if not there:
            places = ", ".join(folders)
            raise FileNotFoundError(f"{self.storage.where('')}: has no {first} in any of {places}")
        return there[0]


def _as_listed(view: ListedView, upright: torch.Tensor) -> FileCamera:
    return FileCamera(
        intrinsics=torch.from_numpy(view.intrinsics), size=tuple(upright.shape[-2:]), turns=view.turns
    )
