import numpy as np

from layouts import Layout
from layouts.kubric import write_frames
from retracker.data.datasets.pointodyssey import PointOdyssey


def write(root, truths):
    for index, truth in enumerate(truths):
        folder = root / "train" / f"scene{index}"
        write_frames(folder / "rgbs", truth, "rgb_{:05d}.jpg")
        np.savez(
            folder / "anno.npz",
            trajs_2d=truth.tracks.numpy(),
            trajs_3d=np.zeros((*truth.visible.shape, 3), np.float32),
            visibs=truth.visible.numpy(),
            valids=np.ones(truth.visible.shape, bool),
            intrinsics=truth.intrinsics.numpy(),
            extrinsics=truth.poses.numpy(),
        )


LAYOUT = Layout(
    config="pointodyssey",
    write=write,
    open=lambda root: PointOdyssey(str(root), split="train"),
    tolerance=0.0,
    a_file=lambda root: root / "train" / "scene0" / "anno.npz",
    lossless=False,
)
