import pickle
from io import BytesIO

import numpy as np
from PIL import Image

from layouts import Layout
from retracker.data.datasets.tapvid import TapVid


def as_video(truth, jpeg=False):
    frames = truth.video.permute(0, 2, 3, 1).numpy()
    size = np.array([frames.shape[2], frames.shape[1]])
    points = truth.tracks.transpose(0, 1).numpy() / size
    return {
        "video": np.array([as_jpeg(frame) for frame in frames]) if jpeg else frames,
        "points": points.astype(np.float64 if jpeg else np.float32),
        "occluded": ~truth.visible.T.numpy(),
    }


def as_jpeg(frame):
    content = BytesIO()
    Image.fromarray(frame).save(content, "jpeg", quality=98)
    return content.getvalue()


def write_davis(root, truths):
    (root / "tapvid_davis").mkdir(parents=True)
    videos = {f"davis-{index}": as_video(truth) for index, truth in enumerate(truths)}
    (root / "tapvid_davis" / "tapvid_davis.pkl").write_bytes(pickle.dumps(videos))


def write_rgb_stacking(root, truths):
    (root / "tapvid_rgb_stacking").mkdir(parents=True)
    videos = [as_video(truth) for truth in truths]
    (root / "tapvid_rgb_stacking" / "tapvid_rgb_stacking.pkl").write_bytes(pickle.dumps(videos))


def write_robotap(root, truths):
    (root / "robotap").mkdir(parents=True)
    for index, truth in enumerate(truths):
        content = pickle.dumps({f"robot_{index}": as_video(truth)})
        (root / "robotap" / f"robotap_split{index}.pkl").write_bytes(content)


def write_kinetics(root, truths):
    (root / "tapvid_kinetics").mkdir(parents=True)
    for index, truth in enumerate(truths):
        content = pickle.dumps([as_video(truth, jpeg=True)])
        (root / "tapvid_kinetics" / f"{index:04d}_of_0010.pkl").write_bytes(content)


ROBOTAP = Layout(
    config="tapvid",
    write=write_robotap,
    open=lambda root: TapVid(str(root), subset="robotap"),
    tolerance=1e-5,  # px: points are stored as float32 in [0, 1]
    a_file=lambda root: root / "robotap" / "robotap_split0.pkl",
)
KINETICS = Layout(
    config="tapvid",
    write=write_kinetics,
    open=lambda root: TapVid(str(root), subset="kinetics"),
    tolerance=1e-5,
    a_file=lambda root: root / "tapvid_kinetics" / "0000_of_0010.pkl",
    lossless=False,
)
