"""LoFTR's ScanNet-1500: test.npz, intrinsics.npz and scans as ScanNet's own reader exports them."""

import numpy as np

from pair_layouts import FRAMES, rgb, write_jpg

SCANS = ("scene0707_00", "scene0708_00")
ZOOM = 10  # the rendered clips are small: their pixels are repeated, as the calibrated size is fixed
CALIBRATED = (640, 480)  # width and height


def write(root, truths, scans=""):
    """One pair of frames of each scan. Colour images are larger than the size that is calibrated."""
    folder = root / "scannet_test_1500"
    names, motions, cameras = [], [], {}
    for truth, scan in zip(truths, SCANS, strict=True):
        for t in FRAMES:
            write_scan(folder / scans / scan, truth, t)
        pose0, pose1 = (truth.poses[t].numpy() for t in FRAMES)
        names.append([int(scan[5:9]), int(scan[10:]), *FRAMES])
        motions.append((pose1 @ np.linalg.inv(pose0))[:3].reshape(12))
        cameras[scan] = camera(truth, *CALIBRATED)
    np.savez(folder / "test.npz", name=np.array(names, np.uint16), rel_pose=np.array(motions, np.float32))
    np.savez(folder / "intrinsics.npz", **cameras)


def write_scan(folder, truth, t):
    colour = rgb(truth, t).repeat(ZOOM, 0).repeat(ZOOM, 1)
    write_jpg(folder / "color" / f"{t}.jpg", colour)
    (folder / "pose").mkdir(exist_ok=True)
    np.savetxt(folder / "pose" / f"{t}.txt", np.linalg.inv(truth.poses[t].numpy()), fmt="%.9f")
    (folder / "intrinsic").mkdir(exist_ok=True)
    matrix = np.eye(4)
    matrix[:3, :3] = camera(truth, colour.shape[1], colour.shape[0])
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", matrix, fmt="%.6f")


def camera(truth, width, height):
    """For an image of that size, counted from the centre of the corner pixel."""
    own_height, own_width = truth.video.shape[-2:]
    scaled = truth.intrinsics[FRAMES[0]].numpy() * [[width / own_width], [height / own_height], [1]]
    return scaled - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
