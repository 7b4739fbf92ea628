"""ReTracker's ScanNet++: LoFTR's pickles with ``dataset_name``, depth in millimetres, half as large."""

import pickle

import numpy as np

from pair_layouts import FRAMES, PairLayout, rgb, write_jpg, write_millimetres
from pair_layouts.megadepth import as_objects
from retracker.data.datasets.scannetpp import ScanNetPP
from retracker.data.scene_info import IndexFiles

SCENES = ("00777c41d4", "0a5c013435")
INDEX = "scannet_plus/matching_indices_0.1_0.7_0.0"


def write(root, truths):
    folder = root / INDEX / "scene_info"
    folder.mkdir(parents=True)
    (root / INDEX / "train_list.txt").write_text("\n".join(SCENES))
    for truth, scene in zip(truths, SCENES, strict=True):
        images = [f"{scene}/dslr/{t}.jpg" for t in FRAMES]
        depths = [f"{scene}/depth/{t}.png" for t in FRAMES]
        for t, image, depth in zip(FRAMES, images, depths, strict=True):
            # Twice as large: the reader brings it back to the size of the truth.
            write_jpg(root / "scannet_plus" / image, rgb(truth, t).repeat(2, 0).repeat(2, 1))
            write_millimetres(root / "scannet_plus" / depth, truth.depth[t].numpy())
        double = np.diag([2.0, 2.0, 1.0])
        info = {
            "dataset_name": "scannet_plus",
            "image_paths": images,
            "depth_paths": depths,
            "intrinsics": as_objects([double @ truth.intrinsics[t].numpy() for t in FRAMES]),
            "poses": np.array([truth.poses[t].numpy() for t in FRAMES]),
            "pair_infos": [((0, 1), 0.4), ((1, 0), 0.8)],
        }
        (folder / f"{scene}.npz").write_bytes(pickle.dumps(info))


INDEX_FILES = IndexFiles(
    folder=f"{INDEX}/scene_info",
    scenes=f"{INDEX}/train_list.txt",
    without=[],
    min_overlap=0.1,
    max_overlap=0.7,
    max_pairs=None,
)

LAYOUT = PairLayout(
    config="scannetpp",
    write=write,
    open=lambda root, size: ScanNetPP(str(root), "", INDEX_FILES, size),
    depth_error=5.1e-4,  # half a millimetre
    flow_error=2e-3,
    scenes=SCENES,
    a_file=lambda root: root / "scannet_plus" / SCENES[0] / "depth" / f"{FRAMES[1]}.png",
    an_index=lambda root: root / INDEX / "scene_info" / f"{SCENES[0]}.npz",
)
