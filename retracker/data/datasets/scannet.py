"""ScanNet with the pair index of LoFTR, from frames exported by ScanNet's own Python reader.

    <root>/index/scene_data/train/scene0000_00.npz      name (M,4) uint16: scene, scan, two frames; score (M,)
    <root>/index/intrinsics.npz                         scene0000_00 (3,3): of the depth camera
    <root>/train/scene0000_00/color/<frame>.jpg  depth/<frame>.png (millimetres)  pose/<frame>.txt

Pose files hold 4 x 4 numbers, camera -> world; -inf where tracking was lost.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, UInt16

from retracker.data import safe_pickle
from retracker.data.cache import DiskCache
from retracker.data.pairs import Pairs, View, read_depth_to_fit, read_image_to_fit, read_size
from retracker.data.storage import Storage
from retracker.geometry.camera import invert, scale_intrinsics
from retracker.media.depth import MILLIMETRE, read_depth_png

HALF_PIXEL = np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])  # intrinsics count from the centre of a pixel
read_millimetres = partial(read_depth_png, unit=MILLIMETRE)


@dataclass(frozen=True, kw_only=True)
class ScanIndex:
    """Which pairs of ScanNet are used."""

    folder: str  # of one .npz a scan
    intrinsics: str
    min_score: float | int  # of overlap; SuperGlue and LoFTR: 0.4
    max_pairs: int  # of one scan, spread evenly over it: 230 million are listed

    def __post_init__(self) -> None:
        if self.max_pairs < 1:
            raise ValueError(f"index.max_pairs: expected at least 1, got {self.max_pairs}")


class ScanNet(Pairs):
    """Pairs of ScanNet, in metres.

    Colour (1296 x 968) and depth (640 x 480) show the same and are resized to each other, also in their
    ratio of sides; the intrinsics are those of the depth map. They count from the centre of the corner
    pixel (cx = 319.5 of 640), so half a pixel is added. Pose files are camera -> world and turned round.
    """

    def __init__(
        self, root: str, images: str, index: ScanIndex, size: int, cache: DiskCache | None = None
    ) -> None:
        super().__init__(size)
        self.storage, self.folder, self.index = Storage(root, cache), images, index
        names = [name for name in self.storage.names(index.folder) if name.endswith(".npz")]
        if not names:
            raise ValueError(
                f"{self.storage.where(index.folder)}: has no <scan>.npz with the pairs of a scan"
            )
        decode = partial(read_names, min_score=index.min_score, max_pairs=index.max_pairs)
        label = f"pairs {index.min_score} {index.max_pairs}"
        paths = [f"{index.folder}/{name}" for name in names]
        self.pairs = np.concatenate([self.storage.array(path, decode, label) for path in paths])
        if not len(self.pairs):
            raise ValueError(f"{self.storage.where(index.folder)}: no score is above {index.min_score}")
        self.cameras = self.storage.load(index.intrinsics, read_cameras)

    def __len__(self) -> int:
        return len(self.pairs)

    def scene(self, index: int) -> str:
        """The room, of which there may be several scans."""
        return f"scene{self.pairs[index, 0]:04d}"

    def name(self, index: int) -> str:
        return f"scannet/{self._scan(index)}/{self.pairs[index, 2]}-{self.pairs[index, 3]}"

    def view(self, index: int, side: int) -> View:
        scan, frame = self._scan(index), self.pairs[index, 2 + side]
        if scan not in self.cameras:
            raise ValueError(f"{self.storage.where(self.index.intrinsics)}: has no intrinsics of {scan}")
        folder = f"{self.folder}/{scan}"
        depth_path = f"{folder}/depth/{frame}.png"
        image = read_image_to_fit(self.storage, f"{folder}/color/{frame}.jpg", self.size)
        camera = torch.from_numpy(self.cameras[scan])
        return View(
            image=image,
            depth=read_depth_to_fit(self.storage, depth_path, read_millimetres, *image.shape[:2]),
            intrinsics=scale_intrinsics(camera, read_size(self.storage, depth_path), image.shape[:2]).numpy(),
            pose=self.storage.load(f"{folder}/pose/{frame}.txt", read_pose),
        )

    def _scan(self, index: int) -> str:
        scene, scan = self.pairs[index, :2]
        return f"scene{scene:04d}_{scan:02d}"


def read_names(path: Path, min_score: float | int, max_pairs: int) -> UInt16[np.ndarray, "M 4"]:
    """The pairs of one index file that are used."""
    content = safe_pickle.load(path)
    try:
        names, scores = content["name"], content["score"]
        names = names[scores > min_score].astype(np.uint16).reshape(-1, 4)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected the arrays name (M, 4) and score (M,)") from error
    if len(names) > max_pairs:
        names = names[np.linspace(0, len(names) - 1, max_pairs).astype(int)]
    return names


def read_cameras(path: Path) -> dict[str, Float64[np.ndarray, "3 3"]]:
    """The intrinsics of every scan, in raster pixels of its depth maps."""
    return {scan: matrix + HALF_PIXEL for scan, matrix in read_intrinsics(path).items()}


def read_intrinsics(path: Path) -> dict[str, Float64[np.ndarray, "3 3"]]:
    """The same as they stand, by pixel indices."""
    content = safe_pickle.load(path)
    try:
        return {scan: np.asarray(matrix, np.float64)[:3, :3] for scan, matrix in content.items()}
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise ValueError(f"{path}: expected one matrix (3, 3) for each scan") from error


def read_pose(path: Path) -> Float64[np.ndarray, "4 4"]:
    """World -> camera, from the camera -> world of the file; not finite where the camera was lost."""
    return invert(torch.from_numpy(read_matrix(path))).numpy()


def read_matrix(path: Path) -> Float64[np.ndarray, "4 4"]:
    """A pose (camera -> world) or an intrinsic file, as it stands."""
    try:
        return np.array(path.read_text().split(), np.float64).reshape(4, 4)
    except ValueError as error:
        raise ValueError(f"{path}: expected 4 x 4 numbers") from error
