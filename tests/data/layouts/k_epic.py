import numpy as np

from layouts import Layout
from layouts.kubric import write_frames
from retracker.data.datasets.k_epic import KEpic


def write(root, truths):
    for index, truth in enumerate(truths):
        folder = root / "train" / f"P0{index}_01"
        write_frames(folder / "rgbs", truth, "frame_{:010d}.jpg")
        np.savez_compressed(
            folder / "annot.npz",
            trajs_2d=truth.tracks.numpy(),
            visibs=truth.visible.numpy().astype(np.uint8),
            valids=np.ones(truth.visible.shape, np.uint8),
        )


LAYOUT = Layout(
    config="k_epic",
    write=write,
    open=lambda root: KEpic(str(root), split="train"),
    tolerance=0.0,
    a_file=lambda root: root / "train" / "P00_01" / "rgbs" / "frame_0000000000.jpg",
    lossless=False,
)
