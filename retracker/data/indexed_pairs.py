"""Posed pairs whose views and cameras stand in index files: 8 bytes a pair, in arrays that workers share."""

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float32

from retracker.data.pairs import Pairs, View, read_depth_to_fit, read_image_to_fit, read_size
from retracker.data.scene_info import SceneInfo
from retracker.data.storage import Storage
from retracker.geometry.camera import scale_intrinsics
from retracker.media.depth import MILLIMETRE, read_depth_h5, read_depth_png


class IndexedPairs(Pairs):
    """Pairs of many index files, kept in a few arrays, which forked workers share.

    ``images``: the folder below the root that the paths of the index start from.
    Raises ValueError if no pair is left.
    """

    def __init__(
        self, storage: Storage, images: str, infos: Sequence[tuple[str, SceneInfo]], label: str, size: int
    ) -> None:
        super().__init__(size)
        if not isinstance(images, str):
            raise ValueError(f"images: expected a folder below the root, or '' for the root, got {images}")
        self.storage, self.folder, self.label = storage, images, label
        scenes = [info for _, info in infos]
        self.places = [place for place, _ in infos]
        self.starts = np.cumsum([0, *(len(scene.pairs) for scene in scenes)]).tolist()  # of each file's pairs
        if self.starts[-1] == 0:
            raise ValueError(f"{storage.where('')}: no pair of the index overlaps as asked for")
        views = np.cumsum([0, *(len(scene.images) for scene in scenes)])
        pairs = [scene.pairs + first for scene, first in zip(scenes, views[:-1], strict=True)]
        self.pairs = np.concatenate(pairs).astype(np.int32)
        self.images = np.concatenate([scene.images for scene in scenes])
        self.depths = np.concatenate([scene.depths for scene in scenes])
        self.intrinsics = np.concatenate([scene.intrinsics for scene in scenes])
        self.poses = np.concatenate([scene.poses for scene in scenes])

    def __len__(self) -> int:
        return len(self.pairs)

    def scene(self, index: int) -> str:
        """The scene, whatever the overlap."""
        return self.places[bisect_right(self.starts, index) - 1]

    def name(self, index: int) -> str:
        first, second = (PurePosixPath(self.images[view].decode()).stem for view in self.pairs[index])
        return f"{self.label}/{self.scene(index)}/{first}-{second}"

    def view(self, index: int, side: int) -> View:
        number = self.pairs[index, side]
        return self.posed(number, *self.paths(number))

    def paths(self, view: int | np.integer) -> tuple[str, str]:
        """Where the image and the depth of a view lie below the root."""
        stored = (self.images[view], self.depths[view])
        image, depth = (str(PurePosixPath(self.folder, path.decode())) for path in stored)
        return image, depth

    def posed(self, view: int | np.integer, image_path: str, depth_path: str) -> View:
        """A view from its files, with the camera that the index has for it."""
        image = read_image_to_fit(self.storage, image_path, self.size)
        intrinsics = scale_intrinsics(
            torch.from_numpy(self.intrinsics[view]), read_size(self.storage, image_path), image.shape[:2]
        )
        return View(
            image=image,
            depth=read_depth_to_fit(self.storage, depth_path, read_depth, *image.shape[:2]),
            intrinsics=intrinsics.numpy(),
            pose=self.poses[view],
        )


def read_depth(path: Path) -> Float32[np.ndarray, "H W"]:
    """Depth in the unit of the poses: .h5 as it stands, .png in millimetres."""
    if path.suffix == ".png":
        return read_depth_png(path, MILLIMETRE)
    return read_depth_h5(path, "depth")
