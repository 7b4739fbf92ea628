"""ScanNet-1500: pairs of 100 indoor scans, chosen by SuperGlue, as LoFTR distributes them.

    test.npz          name (1500, 4) uint16: scene, scan, two frames; rel_pose (1500, 12): 3 x 4, view 0 to 1
    intrinsics.npz    scene0707_00 (3, 3): of images of 640 x 480
    scene0707_00/color/<frame>.jpg  pose/<frame>.txt  intrinsic/intrinsic_color.txt

LoFTR takes cameras from "files": pose files (camera to world) and intrinsics.npz. RoMa takes "relative" ones:
rel_pose and intrinsic_color.txt. Both intrinsics count from the centre of the corner pixel, ours from its
corner, so that half a pixel is added.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.pose_protocol import PoseProtocol
from retracker.benchmarks.posed import PoseBenchmark, PosedPair, check_camera, checked_pair, motion_between
from retracker.benchmarks.presence import check_found
from retracker.data import safe_pickle
from retracker.data.datasets.scannet import HALF_PIXEL, read_intrinsics, read_matrix
from retracker.data.storage import Storage
from retracker.geometry.camera import scale_intrinsics
from retracker.media.image import as_video, read_frame

TITLE = "ScanNet-1500"
WHOLE = 1500  # pairs
CALIBRATED = (480, 640)  # height and width that intrinsics.npz is for


class ScanNet1500(PoseBenchmark):
    """The pairs of test.npz; ``scans``: folders beside it, the first that has the first scan is taken."""

    place = "indoor"

    def __init__(
        self, name: str, root: str, needs: Sequence[str], scans: Sequence[str], protocol: PoseProtocol
    ) -> None:
        super().__init__(name, TITLE, protocol)
        self.storage, index = Storage(root, None), check_found(root, needs, TITLE)
        self.where = self.storage.where(index)
        folder = PurePosixPath(index).parent
        self.frames, self.poses = self.storage.load(index, read_pairs)
        first = self._scan(0)
        there = [scan for scan in scans if self.storage.exists(str(folder / scan / first))]
        if not there:
            raise FileNotFoundError(
                f"{self.storage.where(str(folder))}: has no {first} in {' or '.join(scans)}"
            )
        self.scans = folder / there[0]
        self.read_camera = {"files": self._filed, "relative": self._relative}[protocol.scannet_cameras]
        if protocol.scannet_cameras == "files":
            self.intrinsics_path = str(folder / "intrinsics.npz")
            self.intrinsics = self.storage.load(self.intrinsics_path, read_intrinsics)
        elif self.poses is None:
            raise ValueError(f"{self.where}: has no rel_pose, which protocol {protocol.name} takes")
        self.protocol["cameras"] = protocol.scannet_cameras
        self.count_pairs(len(self.frames), WHOLE)

    def __len__(self) -> int:
        return len(self.frames)

    def item_name(self, index: int) -> str:
        """Such as scene0707_00/15-585."""
        return f"{self._scan(index)}/{self.frames[index, 2]}-{self.frames[index, 3]}"

    def read(self, index: int) -> PosedPair:
        scan = str(self.scans / self._scan(index))
        paths = [f"{scan}/color/{frame}.jpg" for frame in self.frames[index, 2:]]
        images = [as_video([self.storage.load(path, read_frame)])[0] for path in paths]
        sizes = [tuple(image.shape[-2:]) for image in images]
        cameras, pose_0to1 = self.read_camera(index, sizes)
        raster = [
            scale_intrinsics(camera.intrinsics + torch.from_numpy(HALF_PIXEL), camera.size, size)
            for camera, size in zip(cameras, sizes, strict=True)
        ]
        return checked_pair(
            PosedPair(
                image0=images[0],
                image1=images[1],
                intrinsics0=raster[0],
                intrinsics1=raster[1],
                file_camera0=cameras[0],
                file_camera1=cameras[1],
                pose_0to1=pose_0to1,
                name=self.item_name(index),
            ),
            f"{self.where}: {self.item_name(index)}",
        )

    def _scan(self, index: int) -> str:
        scene, scan = self.frames[index, :2]
        return f"scene{scene:04d}_{scan:02d}"

    def _filed(
        self, index: int, sizes: Sequence[tuple[int, int]]
    ) -> tuple[list[FileCamera], Float64[Tensor, "4 4"]]:
        scan = self._scan(index)
        if scan not in self.intrinsics:
            raise ValueError(f"{self.storage.where(self.intrinsics_path)}: has no intrinsics of {scan}")
        camera = FileCamera(intrinsics=torch.from_numpy(self.intrinsics[scan]), size=CALIBRATED, turns=0)
        check_camera(camera.intrinsics, CALIBRATED, f"{self.storage.where(self.intrinsics_path)}: {scan}")
        folder = f"{self.scans}/{scan}/pose"
        paths = [f"{folder}/{frame}.txt" for frame in self.frames[index, 2:]]
        back = [self.storage.load(path, read_matrix) for path in paths]
        for path, matrix in zip(paths, back, strict=True):
            if not np.isfinite(matrix).all() or not np.linalg.det(matrix):
                raise ValueError(f"{self.storage.where(path)}: the camera was lost here, expected its pose")
        pose0, pose1 = (np.linalg.inv(matrix) for matrix in back)
        motion = motion_between(pose0, pose1, f"{self.storage.where(folder)}: {self.item_name(index)}")
        return [camera for _ in sizes], motion

    def _relative(
        self, index: int, sizes: Sequence[tuple[int, int]]
    ) -> tuple[list[FileCamera], Float64[Tensor, "4 4"]]:
        path = f"{self.scans}/{self._scan(index)}/intrinsic/intrinsic_color.txt"
        intrinsics = torch.from_numpy(self.storage.load(path, read_matrix)[:3, :3].copy())
        for size in sizes:
            check_camera(intrinsics, size, self.storage.where(path))
        pose_0to1 = torch.eye(4, dtype=torch.float64)
        pose_0to1[:3] = torch.from_numpy(self.poses[index])
        return [FileCamera(intrinsics=intrinsics, size=size, turns=0) for size in sizes], pose_0to1


def read_pairs(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Scene, scan and frames (M,4) of each pair, and its pose (M,3,4) in float64, if the file has them."""
    content = safe_pickle.load(path)
    try:
        frames, poses = np.asarray(content["name"]), content.get("rel_pose")
        poses = None if poses is None else np.asarray(poses, np.float64).reshape(-1, 3, 4)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected the arrays name (M, 4) and rel_pose (M, 12)") from error
    whole = np.issubdtype(frames.dtype, np.integer) and (frames >= 0).all()
    if not whole or frames.ndim != 2 or frames.shape[1] != 4 or not len(frames):
        raise ValueError(
            f"{path}: expected name (M, 4) with scene, scan and two frames, got {frames.dtype} {frames.shape}"
        )
    if poses is not None and len(poses) != len(frames):
        raise ValueError(f"{path}: has {len(frames)} names, but {len(poses)} poses")
    return frames, poses
