import numpy as np

from layouts import Layout
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.media.image import write_image


def write(root, truths):
    for index, truth in enumerate(truths):
        for t, frame in enumerate(truth.video):
            write_image(root / f"clip{index}" / f"{t:03d}.png", frame)
        np.savez_compressed(
            root / f"clip{index}.npz", tracks=truth.tracks.numpy(), visible=truth.visible.numpy()
        )


LAYOUT = Layout(
    config="tracks_folder",
    write=write,
    open=lambda root: TracksFolder(str(root)),
    tolerance=0.0,
    a_file=lambda root: root / "clip0" / "000.png",
)
