"""LoFTR's layout: bare pickles called .npz, 3-tuples, float64 cameras, unused views None."""

import pickle

import numpy as np

from pair_layouts import FRAMES, PairLayout, rgb, write_h5, write_jpg
from retracker.data.datasets.megadepth import MegaDepth
from retracker.data.scene_info import IndexFiles

SCENES = ("0001", "0042")
DEPTHS = "phoenix/S6/zl548/MegaDepth_v1"


def write(root, truths):
    stems = [f"{scene}_0.1_0.3" for scene in SCENES]
    for truth, scene, stem in zip(truths, SCENES, stems, strict=True):
        info = scene_info(root / "train", truth, scene)
        path = root / "index" / "scene_info_0.1_0.7" / f"{stem}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(info))
    path = root / "index" / "trainvaltest_list" / "train_list.txt"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([*stems, "0133_0.1_0.3"]) + "\n")  # the last: left out by name


def scene_info(root, truth, scene):
    """Views 1 and 2 are the frames of the pair; view 0 has no files."""
    images, depths, cameras, poses = [None], [None], [np.zeros((3, 3))], [np.zeros((4, 4))]
    for t in FRAMES:
        images.append(f"Undistorted_SfM/{scene}/images/{t}.jpg")
        depths.append(f"{DEPTHS}/{scene}/dense0/depths/{t}.h5")
        write_jpg(root / images[-1], rgb(truth, t))
        write_h5(root / depths[-1], truth.depth[t].numpy())
        cameras.append(truth.intrinsics[t].numpy())
        poses.append(truth.poses[t].numpy())
    middle = np.array([1.0, 2.0, 3.0, 4.0])
    return {
        "image_paths": as_objects(images),
        "depth_paths": as_objects(depths),
        "intrinsics": as_objects(cameras),
        "poses": as_objects(poses),
        "pair_infos": [
            (np.array([1, 2]), 0.25, middle),
            (np.array([0, 1]), 0.25, middle),  # without files
            (np.array([2, 1]), 0.05, middle),  # hardly overlaps
        ],
    }


def as_objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def index(**changed):
    usual = {
        "folder": "index/scene_info_0.1_0.7",
        "scenes": "index/trainvaltest_list/train_list.txt",
        "without": ["0133"],
        "min_overlap": 0.1,
        "max_overlap": 0.7,
        "max_pairs": None,
    }
    return IndexFiles(**usual | changed)


LAYOUT = PairLayout(
    config="megadepth",
    write=write,
    open=lambda root, size: MegaDepth(str(root), "train", index(), size),
    depth_error=1e-6,  # float32
    flow_error=1e-5,
    scenes=SCENES,
    a_file=lambda root: root / "train" / DEPTHS / SCENES[0] / "dense0" / "depths" / "0.h5",
    an_index=lambda root: root / "index" / "scene_info_0.1_0.7" / f"{SCENES[0]}_0.1_0.3.npz",
)
