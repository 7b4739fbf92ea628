"""D2-Net's scene files: true npz with object arrays, an asymmetric overlap matrix, points beside it."""

import numpy as np

from pair_layouts import PairLayout
from pair_layouts.megadepth import SCENES, as_objects, scene_info
from retracker.data.datasets.megadepth_d2net import MegaDepthD2Net
from retracker.data.scene_info import IndexFiles

SCALE = 3.0  # between the two views that overlap but are not used


def write(root, truths):
    for truth, scene in zip(truths, SCENES, strict=True):
        info = scene_info(root, truth, scene)
        del info["pair_infos"]
        overlap = np.full((3, 3), -1.0)
        overlap[1, 2], overlap[2, 1] = 0.4, 0.05  # of the second view, the first sees little
        overlap[0, 2] = 0.9  # but has no files
        ratio = np.ones((3, 3))
        ratio[2, 1] = SCALE
        (root / "scene_info").mkdir(parents=True, exist_ok=True)
        np.savez(
            root / "scene_info" / f"{scene}.npz",
            **info,
            overlap_matrix=overlap,
            scale_ratio_matrix=ratio,
            angles=np.zeros((3, 3)),
            n_points3D=np.array([0, 7, 5]),
            points3D_id_to_2D=as_objects([{}, {17: [1.5, 2.5]}, {17: [3.5, 2.5]}]),
            points3D_id_to_ndepth=as_objects([{}, {17: 0.01}, {17: 0.02}]),
        )


def index(**changed):
    usual = {
        "folder": "scene_info",
        "scenes": None,
        "without": [],
        "min_overlap": 0.1,
        "max_overlap": 1.0,
        "max_pairs": None,
    }
    return IndexFiles(**usual | changed)


LAYOUT = PairLayout(
    config="megadepth_d2net",
    write=write,
    open=lambda root, size: MegaDepthD2Net(str(root), "", index(), float("inf"), size),
    depth_error=1e-6,
    flow_error=1e-5,
    scenes=SCENES,
    a_file=lambda root: root / "Undistorted_SfM" / SCENES[0] / "images" / "0.jpg",
    an_index=lambda root: root / "scene_info" / f"{SCENES[0]}.npz",
)
