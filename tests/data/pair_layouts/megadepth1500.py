"""LoFTR's MegaDepth-1500: its five index files, bare pickles called .npz, beside the images of two scenes."""

import pickle

from pair_layouts.megadepth import scene_info

FILES = ("0015_0.1_0.3", "0015_0.3_0.5", "0022_0.1_0.3", "0022_0.3_0.5", "0022_0.5_0.7")


def write(root, truths, index=""):
    """Two pairs in each file, forth and back; a third has no images."""
    folder = root / "megadepth_test_1500"
    for file in FILES:
        scene = file[:4]
        info = scene_info(folder, truths[scene == "0022"], scene)
        path = folder / index / f"{file}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(info))
