"""``pixels=official``: the steps of each official code, written out here, give the same numbers."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from pair_layouts import FRAMES, megadepth1500, scannet1500, still, true_places
from posed_points import answer
from presets import open_benchmark
from yfcc_layout import LIST, SCENES, write

OFFICIAL = "protocol.pose.pixels=official"
TURNS = [(0, 0), (0, 0), (1, 0), (2, 3), (3, 2), (1, 1)]


@pytest.fixture(scope="module")
def truths():
    return [still(17), still(5)]


@pytest.fixture(scope="module")
def root(tmp_path_factory, truths):
    root = tmp_path_factory.mktemp("all")
    megadepth1500.write(root, truths)
    scannet1500.write(root, truths)
    write(root, [(still(10), SCENES[0], turns) for turns in TURNS])
    return root


def matches(truth, size, source, target, *, seed):
    """Of two frames at a height and width, in raster px: noisy ones, a quarter of them wrong."""
    random = np.random.default_rng(seed)
    small = np.array(truth.video.shape[:-3:-1])  # width and height
    xy0, scale = random.uniform(2, small - 2, (250, 2)), size[::-1] / small
    xy1, visible = true_places(truth, torch.from_numpy(xy0), source, target)
    xy0, xy1 = xy0[visible], xy1.double().numpy()[visible]
    xy1 += random.normal(0, 0.03, xy1.shape)
    wrong = random.random(len(xy1)) < 0.25
    xy1[wrong] = random.uniform([0, 0], small, (wrong.sum(), 2))
    return xy0 * scale, xy1 * scale


def sizes_of(item):
    return [np.array(image.shape[-2:]) for image in (item.image0, item.image1)]


def resized(xy, old, new):
    """Points of an image of one height and width, at another."""
    return xy * (new[::-1] / old[::-1])


# --- what the official codes do, as read in their repositories --------------------------------------------


def normalised(points, cameras):
    return [
        (xy - camera[[0, 1], [2, 2]][None]) / camera[[0, 1], [0, 1]][None]
        for xy, camera in zip(points, cameras, strict=True)
    ]


def error_of(xy0, xy1, motion, threshold):
    """estimate_pose and compute_pose_error behind normalisation: of SuperGlue, LoFTR and RoMa alike."""
    essentials, mask = cv2.findEssentialMat(
        xy0, xy1, np.eye(3), threshold=threshold, prob=0.99999, method=cv2.RANSAC
    )
    most, best = 0, None
    for essential in np.split(essentials, len(essentials) / 3):
        count, rotation, translation, _ = cv2.recoverPose(essential, xy0, xy1, np.eye(3), mask=mask)
        if count > most:
            most, best = count, (rotation, translation[:, 0])
    cosine = (np.trace(np.dot(best[0].T, motion[:3, :3])) - 1) / 2
    turned = np.rad2deg(np.abs(np.arccos(np.clip(cosine, -1.0, 1.0))))
    lengths = np.linalg.norm(best[1]) * np.linalg.norm(motion[:3, 3])
    moved = np.rad2deg(np.arccos(np.clip(np.dot(best[1], motion[:3, 3]) / lengths, -1.0, 1.0)))
    return max(turned, min(moved, 180 - moved))


def precision(xy0, xy1, motion, threshold):
    """The share of compute_epipolar_error below a threshold."""
    x, y, z = motion[:3, 3]
    essential = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ motion[:3, :3]
    xy0, xy1 = (np.concatenate([xy, np.ones_like(xy[:, :1])], -1) for xy in (xy0, xy1))
    line1, line0 = xy0 @ essential.T, xy1 @ essential
    squares = (1 / (line1[:, 0] ** 2 + line1[:, 1] ** 2), 1 / (line0[:, 0] ** 2 + line0[:, 1] ** 2))
    return np.mean(np.sum(xy1 * line1, -1) ** 2 * (squares[0] + squares[1]) < threshold)


def official_auc(errors, thresholds=(5, 10, 20)):
    errors = np.r_[0.0, np.sort(errors)]
    recall = np.arange(len(errors)) / (len(errors) - 1)
    areas = []
    for threshold in thresholds:
        last = np.searchsorted(errors, threshold)
        x, y = np.r_[errors[:last], threshold], np.r_[recall[:last], recall[last - 1]]
        areas.append(np.sum(np.diff(x) * (y[1:] + y[:-1]) / 2.0) / threshold)
    return areas


def loftr_megadepth(root, item, points):
    """The dataset resizes to 840 px, 8 by 8, and says by how much; matches times that, and K as it is."""
    scene, pair, _ = item.name.split("/")
    info = pickle.loads((root / f"megadepth_test_1500/{scene}.npz").read_bytes())
    views = [views for views, *_ in info["pair_infos"] if 0 not in views][int(pair)]  # view 0 has no files
    scaled = []
    for xy, size in zip(points, sizes_of(item), strict=True):
        shown = np.array([int(round(side * (840 / max(size))) // 8 * 8) for side in size])
        scaled.append((resized(xy, size, shown) - 0.5) * (size / shown)[::-1])
    poses = [info["poses"][view] for view in views]
    motion = poses[1] @ np.linalg.inv(poses[0])
    return scaled, [info["intrinsics"][view] for view in views], motion


def loftr_scannet(root, item, points):
    """Matched at 640 x 480, of which intrinsics.npz are."""
    folder, (scan, frames) = root / "scannet_test_1500", item.name.split("/")
    pose0, pose1 = (
        np.linalg.inv(np.loadtxt(folder / scan / f"pose/{frame}.txt")) for frame in frames.split("-")
    )
    indices = [
        resized(xy, size, np.array([480, 640])) - 0.5 for xy, size in zip(points, sizes_of(item), strict=True)
    ]
    camera = np.load(folder / "intrinsics.npz")[scan]
    return indices, [camera, camera], pose1 @ np.linalg.inv(pose0)


def relative(root, item):
    """The camera of the stored images, and the motion, of a pair of ScanNet."""
    folder, scan = root / "scannet_test_1500", item.name.split("/")[0]
    motion = np.load(folder / "test.npz")["rel_pose"][int(scan[5:9]) - 707].reshape(3, 4)
    return np.loadtxt(folder / scan / "intrinsic/intrinsic_color.txt")[:3, :3], motion.astype(np.float64)


def superglue_scaled(camera, scales):
    return np.dot(np.diag([1.0 / scales[0], 1.0 / scales[1], 1.0]), camera)


def superglue_scannet(root, item, points):
    camera, motion = relative(root, item)
    shown, indices, cameras = np.array([480, 640]), [], []
    for xy, size in zip(points, sizes_of(item), strict=True):
        indices.append(resized(xy, size, shown) - 0.5)
        cameras.append(superglue_scaled(camera, (size / shown)[::-1]))
    return indices, cameras, motion


def superglue_yfcc(root, item, points):
    """Resized to 1600 px and turned by EXIF then, as are the cameras, by scales that are swapped before."""
    words = (root / LIST).read_text().splitlines()[int(item.name.split("/")[1])].split()
    numbers, indices, cameras, turned = np.array(words[4:], float), [], [], []
    for side, (xy, upright) in enumerate(zip(points, sizes_of(item), strict=True)):
        turns = int(words[2 + side])
        stored = upright[::-1] if turns % 2 else upright
        shown = np.array([int(round(length * (1600 / max(stored)))) for length in stored])
        scales = (stored / shown)[::-1]  # x, y
        if turns % 2:
            scales = scales[::-1]
        indices.append(resized(xy, upright, shown[::-1] if turns % 2 else shown) - 0.5)
        camera = superglue_scaled(numbers[9 * side : 9 * side + 9].reshape(3, 3), scales)
        cameras.append(rotate_intrinsics(camera, *shown, turns))
        turned.append(in_plane(turns))
    return indices, cameras, turned[1] @ numbers[18:].reshape(4, 4) @ np.linalg.inv(turned[0])


def rotate_intrinsics(camera, height, width, turns):
    fx, fy, cx, cy = camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2]
    return np.array(
        {
            0: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]],
            1: [[fy, 0, cy], [0, fx, width - 1 - cx], [0, 0, 1]],
            2: [[fx, 0, width - 1 - cx], [0, fy, height - 1 - cy], [0, 0, 1]],
            3: [[fy, 0, height - 1 - cy], [0, fx, cx], [0, 0, 1]],
        }[turns]
    )


def in_plane(turns):
    angle, turned = np.deg2rad((0, 270, 180, 90)[turns]), np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turned


def roma_scannet(root, item, points):
    """Points in [-1, 1] become px of images whose short side is 480, less half a pixel."""
    camera, motion = relative(root, item)
    indices, cameras = [], []
    for xy, size in zip(points, sizes_of(item), strict=True):
        scale = 480 / min(size)
        height, width = scale * size
        inside = 2 * xy / size[::-1] - 1
        indices.append(
            np.stack((width * (inside[:, 0] + 1) / 2 - 0.5, height * (inside[:, 1] + 1) / 2 - 0.5), -1)
        )
        cameras.append(camera * scale)
    return indices, cameras, motion


# --- the tests ---------------------------------------------------------------------------------------------


def answered(benchmark, index, truths):
    """An item, and noisy matches in px of its images."""
    item = benchmark.read(index)
    second = item.name.startswith(("0022", "scene0708"))
    truth = still(10) if benchmark.name == "yfcc" else truths[second]
    back = benchmark.name == "megadepth1500" and index % 2 == 1
    return item, matches(truth, sizes_of(item)[0], *FRAMES[:: -1 if back else 1], seed=index)


@pytest.mark.parametrize(
    ("name", "protocol", "steps", "threshold_px", "allowed"),
    [
        ("megadepth1500", "loftr", loftr_megadepth, 0.5, 1e-4),
        ("scannet1500", "loftr", loftr_scannet, 0.5, 5e-4),
        ("scannet1500", "superglue_yfcc", superglue_scannet, 1.0, 5e-4),
        ("yfcc", "superglue_yfcc", superglue_yfcc, 1.0, 5e-4),
    ],
)
def test_official_pixels_give_the_official_numbers_bit_for_bit(
    root, truths, name, protocol, steps, threshold_px, allowed
):
    benchmark = open_benchmark(name, root, f"protocol={protocol}", OFFICIAL)
    scores, errors = {}, []
    for index in range(len(benchmark)):
        item, points = answered(benchmark, index, truths)
        xy, cameras, motion = steps(root, item, points)
        focals = [cameras[0][0, 0], cameras[1][1, 1]]
        xy0, xy1 = normalised(xy, cameras)
        error = error_of(xy0, xy1, motion, threshold_px / np.mean([*focals, *focals]))
        scores[item.name] = found = benchmark.score(item, answer(*points))
        if name == "yfcc" and any(TURNS[index]):  # sines of quarter turns are not quite 0 and 1 there
            assert found["pose_error"] == pytest.approx(error, abs=1e-9)
            error = found["pose_error"]
        errors.append(error)
        assert found["pose_error"] == error
        assert found["epipolar_precision"] == precision(xy0, xy1, motion, allowed)
    found = benchmark.summarise(scores).values
    assert [found[f"exact_auc_{degrees}"] for degrees in (5, 10, 20)] == official_auc(errors)
    assert found["exact_auc_20"] > 0.5


def test_so_they_do_under_romas_rules_in_its_own_order_of_matches(root, truths):
    benchmark = open_benchmark("scannet1500", root, "protocol=roma", OFFICIAL)
    for index in range(len(benchmark)):
        item, points = answered(benchmark, index, truths)
        xy, cameras, motion = roma_scannet(root, item, points)
        focal = sum(np.mean(np.abs(camera[:2, :2])) for camera in cameras)
        xy0, xy1 = (
            (np.linalg.inv(camera[:2, :2]) @ (part - camera[None, :2, 2]).T).T
            for part, camera in zip(xy, cameras, strict=True)
        )
        errors = [
            error_of(xy0[order], xy1[order], motion, 0.5 / focal)
            for order in benchmark.rules.selections(len(xy0))
        ]
        found = benchmark.score(item, answer(*points))
        pooled = [found[f"pose_error_0.5px_run{run}"] for run in range(1, 6)]
        assert pooled == pytest.approx(errors, abs=1e-8)  # it multiplies by inverses, and halves


@pytest.mark.parametrize(
    ("name", "protocol", "changes"),
    [
        ("megadepth1500", "loftr", True),
        ("scannet1500", "loftr", False),  # indices in both
        ("scannet1500", "superglue_yfcc", True),
        ("yfcc", "superglue_yfcc", True),
        ("megadepth1500", "roma", False),  # raster in both
        ("scannet1500", "roma", True),
        ("megadepth1500", "gluefactory_opencv", False),
        ("scannet1500", "gluefactory_opencv", False),
    ],
)
def test_where_official_pixels_are_not_exact(root, truths, name, protocol, changes):
    exact = open_benchmark(name, root, f"protocol={protocol}")
    official = open_benchmark(name, root, f"protocol={protocol}", OFFICIAL)
    item, points = answered(exact, 0, truths)
    matched = answer(*points)
    apart = np.median(official._distances(item, matched) - exact._distances(item, matched))
    assert (abs(apart) > 1e-12) == changes


def test_title_and_protocol_say_so(root):
    exact = open_benchmark("megadepth1500", root, "protocol=loftr")
    official = open_benchmark("megadepth1500", root, "protocol=loftr", OFFICIAL)
    assert exact.title == "MegaDepth-1500 (loftr: OpenCV RANSAC, 0.5 px) (10 of 1500 pairs)"
    assert official.title == exact.title.replace("loftr:", "loftr, official pixels:")
    assert exact.protocol["pixels"] == "exact" and "official_points" not in exact.protocol
    assert official.protocol == exact.protocol | {"pixels": "official", "official_points": "indices"}


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("pixels=raster", "expected distance squared or mean, pixels exact or official"),
        ("outdoor.official_points=px", "expected official_points indices or frame_indices or raster, got px"),
    ],
)
def test_pixels_that_are_unknown_are_refused(root, key, said):
    with pytest.raises(ValueError, match=said):
        open_benchmark("megadepth1500", root, "protocol=loftr", f"protocol.pose.{key}")
