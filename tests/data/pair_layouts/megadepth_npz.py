"""The same as true npz files with 2-tuples and ``dataset_name``; and DKM's .npy with pairs and overlaps."""

import numpy as np

from pair_layouts import FRAMES, PairLayout
from pair_layouts.megadepth import DEPTHS, SCENES, index, scene_info
from retracker.data.datasets.megadepth import MegaDepth


def write(root, truths):
    for truth, scene, save in zip(truths, SCENES, (save_npz, save_npy), strict=True):
        info = scene_info(root / "images" / "mega", truth, scene) | {"dataset_name": "mega"}
        (root / "prep_scene_info").mkdir(parents=True, exist_ok=True)
        save(root / "prep_scene_info" / scene, info)


def save_npz(path, info):
    infos = np.empty(len(info["pair_infos"]), object)
    infos[:] = [(tuple(views), overlap) for views, overlap, _ in info["pair_infos"]]
    np.savez(path.with_suffix(".npz"), **info | {"pair_infos": infos})


def save_npy(path, info):
    infos = info.pop("pair_infos")
    info["pairs"] = np.array([views for views, *_ in infos])
    info["overlaps"] = np.array([overlap for _, overlap, _ in infos])
    np.save(path.with_suffix(".npy"), info)


LAYOUT = PairLayout(
    config="megadepth",
    write=write,
    open=lambda root, size: MegaDepth(
        str(root), "images", index(folder="prep_scene_info", scenes=None, without=[]), size
    ),
    depth_error=1e-6,
    flow_error=1e-5,
    scenes=SCENES,
    a_file=lambda root: root / "images/mega" / DEPTHS / f"{SCENES[0]}/dense0/depths/{FRAMES[1]}.h5",
    an_index=lambda root: root / "prep_scene_info" / f"{SCENES[0]}.npz",
)
