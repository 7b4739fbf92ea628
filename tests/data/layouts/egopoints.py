import numpy as np

from layouts import Layout
from layouts.kubric import write_frames
from retracker.data.datasets.egopoints import EgoPoints


def write(root, truths):
    for index, truth in enumerate(truths):
        folder = root / f"P01_0{index}_start_15883_end_15890"
        write_frames(folder / "rgbs", truth, "frame_{:010d}.jpg")
        size = truth.tracks.new_tensor([truth.video.shape[-1], truth.video.shape[-2]])
        outside = ~((truth.tracks >= 0) & (truth.tracks < size)).all(-1)
        np.savez(
            folder / "annot.npz",
            trajs_2d=np.where(truth.visible[..., None], truth.tracks, 0.0),
            valids=truth.visible.numpy().astype(np.float64),
            visibs=truth.visible.numpy().astype(np.float64),
            vis_valids=np.ones(truth.visible.shape),
            out_of_view=outside.numpy().astype(np.float64),
            occluded=(~truth.visible & ~outside).numpy().astype(np.float64),
        )


LAYOUT = Layout(
    config="egopoints",
    write=write,
    open=lambda root: EgoPoints(str(root)),
    tolerance=0.0,
    a_file=lambda root: root / "P01_00_start_15883_end_15890" / "annot.npz",
    lossless=False,
)
