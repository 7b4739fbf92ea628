"""LoFTR's ScanNet: names and scores, pose files camera -> world, intrinsics counted from pixel centres."""

import numpy as np

from pair_layouts import FRAMES, PairLayout, rgb, write_jpg, write_millimetres
from retracker.data.datasets.scannet import ScanIndex, ScanNet

SCANS = ("scene0000_00", "scene0012_01")


def write(root, truths):
    index = root / "index" / "scene_data" / "train"
    index.mkdir(parents=True)
    cameras = {}
    for truth, scan in zip(truths, SCANS, strict=True):
        for t in FRAMES:
            write_jpg(root / "train" / scan / "color" / f"{t}.jpg", rgb(truth, t).repeat(2, 0).repeat(2, 1))
            write_millimetres(root / "train" / scan / "depth" / f"{t}.png", truth.depth[t].numpy())
            back = np.linalg.inv(truth.poses[t].numpy())
            (root / "train" / scan / "pose").mkdir(exist_ok=True)
            np.savetxt(root / "train" / scan / "pose" / f"{t}.txt", back, fmt="%.6f")
        scene, number = int(scan[5:9]), int(scan[10:])
        names = [[scene, number, *FRAMES], [scene, number, *FRAMES[::-1]]]
        np.savez(
            index / f"{scan}.npz",
            name=np.array(names, np.uint16),
            score=np.array([0.6, 0.4], np.float16),  # only the first is above 0.4
        )
        cameras[scan] = truth.intrinsics[FRAMES[0]].numpy() - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    np.savez(root / "index" / "intrinsics.npz", **cameras)


def scans(**changed):
    usual = {
        "folder": "index/scene_data/train",
        "intrinsics": "index/intrinsics.npz",
        "min_score": 0.4001,  # float16 holds 0.4 as a little less
        "max_pairs": 100,
    }
    return ScanIndex(**usual | changed)


LAYOUT = PairLayout(
    config="scannet",
    write=write,
    open=lambda root, size: ScanNet(str(root), "train", scans(), size),
    depth_error=5.1e-4,  # half a millimetre
    flow_error=2e-3,
    scenes=("scene0000", "scene0012"),
    a_file=lambda root: root / "train" / SCANS[0] / "pose" / "0.txt",
    an_index=lambda root: root / "index" / "scene_data" / "train" / f"{SCANS[0]}.npz",
)
