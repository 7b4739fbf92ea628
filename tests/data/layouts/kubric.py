import numpy as np
from PIL import Image

from layouts import Layout
from retracker.data.datasets.kubric import Kubric


def write_frames(folder, truth, pattern="{:03d}.png"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(truth.video.permute(0, 2, 3, 1).numpy()):
        Image.fromarray(frame).save(folder / pattern.format(t), quality=98)


def write_cotracker(root, truths, folder="{:04d}"):
    for index, truth in enumerate(truths):
        name = folder.format(index)
        write_frames(root / name / "frames", truth)
        labels = {
            "coords": truth.tracks.transpose(0, 1).numpy().astype(np.float64),
            "visibility": ~truth.visible.T.numpy(),  # true: hidden
            "coords_depth": np.ones(truth.visible.T.shape, np.float32),
            "depth": truth.depth.numpy()[..., None],
            "camera": {"focal_length": 35.0},
        }
        np.save(root / name / f"{name}.npy", labels, allow_pickle=True)


def write_alltracker(root, truths):
    for index, truth in enumerate(truths):
        folder = root / "chunk_00" / f"{index:04d}"
        write_frames(folder / "frames", truth, "{:04d}.png")
        labels = {
            "point_xys": truth.tracks.numpy(),
            "point_visibs": truth.visible.numpy().astype(np.float32),
            "point_xys_valid": np.ones(truth.visible.shape, np.float32),
        }
        np.save(folder / "annot.npy", labels, allow_pickle=True)


def open_kubric(root):
    return Kubric(str(root), split=None)


COTRACKER = Layout(
    config="kubric",
    write=write_cotracker,
    open=open_kubric,
    tolerance=0.0,
    a_file=lambda root: root / "0000" / "0000.npy",
)
ALLTRACKER = Layout(
    config="kubric",
    write=write_alltracker,
    open=open_kubric,
    tolerance=0.0,
    a_file=lambda root: root / "chunk_00" / "0000" / "annot.npy",
)
