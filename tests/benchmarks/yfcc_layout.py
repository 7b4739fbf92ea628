"""OANet's images of YFCC100M with SuperGlue's list of pairs: 38 fields a line, some images on their side."""

from functools import cache

import numpy as np
import torch
from pair_layouts import FRAMES, rgb, write_jpg

from retracker.geometry.quarter_turns import turn_intrinsics, turn_pose

LIST = "yfcc_test_pairs_with_gt.txt"
SCENES = ("buckingham_palace", "notre_dame_front_facade", "reichstag", "sacre_coeur")
RASTER_TO_INDICES = np.array([[0, 0, -0.5], [0, 0, -0.5], [0, 0, 0]])


def write(root, views):
    """Pairs of (truth, scene, (turn of view 0, turn of view 1)); every image is stored on its own."""
    lines = []
    for number, (truth, scene, turns) in enumerate(views):
        paths = [f"{scene}/test/images/{number}_{t}.jpg" for t in FRAMES]
        for path, t, turn in zip(paths, FRAMES, turns, strict=True):
            write_jpg(
                root / "raw_data" / "yfcc100m" / path, np.ascontiguousarray(np.rot90(rgb(truth, t), -turn))
            )
        lines.append(line(paths, turns, *stored_cameras(truth, turns)))
    (root / LIST).write_text("".join(lines))


def stored_cameras(truth, turns):
    """Intrinsics by pixel indices and relative pose of the cameras of images that lie on their side."""
    size = tuple(truth.video.shape[-2:])
    matrices = [
        turn_intrinsics(truth.intrinsics[t], size, -turn) for t, turn in zip(FRAMES, turns, strict=True)
    ]
    pose0, pose1 = (turn_pose(truth.poses[t], -turn) for t, turn in zip(FRAMES, turns, strict=True))
    return [matrix.numpy() + RASTER_TO_INDICES for matrix in matrices], (
        pose1 @ torch.linalg.inv(pose0)
    ).numpy()


def line(paths, turns, cameras, pose_0to1):
    numbers = np.concatenate([*(camera.reshape(-1) for camera in cameras), pose_0to1.reshape(-1)])
    return " ".join([*paths, *map(str, turns), *(repr(float(number)) for number in numbers)]) + "\n"


@cache
def long_list(pairs_of_a_scene=380):
    """The public list's form without images: as many lines a scene, all different."""
    rng = np.random.default_rng(0)
    lines = []
    for scene in SCENES:
        for number in range(pairs_of_a_scene):
            cameras = [np.array([[f, 0, 319.5], [0, f, 239.5], [0, 0, 1]]) for f in rng.uniform(300, 900, 2)]
            pose = np.eye(4)
            pose[:3, 3] = rng.normal(size=3)
            paths = [f"{scene}/test/images/{number}_{side}.jpg" for side in "ab"]
            lines.append(line(paths, (number % 4, 0), cameras, pose))
    return "".join(lines)
