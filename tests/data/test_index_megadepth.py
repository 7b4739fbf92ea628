"""tools/index_megadepth.py on a tree in MegaDepth's layout, whose overlaps are counted by hand."""

import pickle
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_layouts import FRAMES, rgb, still, true_flow, write_h5, write_jpg

from retracker.data.datasets.megadepth import MegaDepth
from retracker.data.scene_info import IndexFiles
from retracker.data.supervision import supervised_clip

TOOL = Path(__file__).parents[2] / "tools" / "index_megadepth.py"
DEPTHS = "phoenix/S6/zl548/MegaDepth_v1/{}/dense0/depths"
# Which 3-D points each of the four views sees. View 3 sees much but has no depth.
POINTS = [list(range(10)), list(range(8, 18)), [9, 10, 11, 12, 30, 31, 32, 33, 34, 35], list(range(20))]
# Overlap (i, j): views 0 and 1 share points 8 9 of ten each; 0 and 2 only 9; 1 and 2 share 9 10 11 12.
OVERLAPS = {(0, 1): 0.2, (1, 0): 0.2, (0, 2): 0.1, (2, 0): 0.1, (1, 2): 0.4, (2, 1): 0.4}


@pytest.fixture(scope="module")
def truth():
    return still(13)


def place(view, point):
    return 1.5 * point + view, 2.0 * point + 0.25


def quaternion(matrix):
    """(w, x, y, z) of a rotation of less than half a turn."""
    w = np.sqrt(1 + np.trace(matrix)) / 2
    skew = (matrix - matrix.T) / (4 * w)
    return [w, skew[2, 1], skew[0, 2], skew[1, 0]]


def views_of(truth):
    """Id, motion, camera id, name, points of four views; the first two are frames of the truth."""
    frames = [*FRAMES, 2, 3]
    views = []
    for number, t in enumerate(frames):
        pose = truth.poses[t].numpy()
        points = [(*place(number, point), point) for point in POINTS[number]]
        views.append((number + 1, [*quaternion(pose[:3, :3]), *pose[:3, 3]], number + 7, f"{t}.jpg", points))
    return views


def cameras_of(truth):
    for number, t in enumerate([*FRAMES, 2, 3]):
        matrix = truth.intrinsics[t].tolist()
        yield number + 7, [matrix[0][0], matrix[1][1], matrix[0][2], matrix[1][2]]


def write_text(folder, truth):
    folder.mkdir(parents=True)
    lines = [f"{number} PINHOLE 96 64 {' '.join(map(str, k))}" for number, k in cameras_of(truth)]
    (folder / "cameras.txt").write_text("# Camera list\n" + "\n".join(lines) + "\n")
    lines = ["# Image list with two lines of data per image:"]
    for number, motion, camera, name, points in views_of(truth):
        lines += [f"{number} {' '.join(repr(float(m)) for m in motion)} {camera} {name}"]
        # An observation of no point, which COLMAP writes as -1.
        lines += ["3.5 4.5 -1 " + " ".join(f"{x} {y} {point}" for x, y, point in points)]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")


def write_binary(folder, truth):
    folder.mkdir(parents=True)
    cameras = [struct.pack("<IiQQ4d", number, 1, 96, 64, *k) for number, k in cameras_of(truth)]
    (folder / "cameras.bin").write_bytes(struct.pack("<Q", len(cameras)) + b"".join(cameras))
    content = struct.pack("<Q", 4)
    for number, motion, camera, name, points in views_of(truth):
        content += struct.pack("<I7dI", number, *motion, camera) + name.encode() + b"\0"
        content += struct.pack("<Q", len(points) + 1) + struct.pack("<ddq", 3.5, 4.5, -1)
        content += b"".join(struct.pack("<ddq", *point) for point in points)
    (folder / "images.bin").write_bytes(content)


@pytest.fixture
def tree(tmp_path, truth):
    """Scene 0001 as text, scene 0002 in binary."""
    root = tmp_path / "train"
    write_text(root / "Undistorted_SfM/0001/sparse-txt", truth)
    write_binary(root / "Undistorted_SfM/0002/sparse", truth)
    for scene in ("0001", "0002"):
        for t in (*FRAMES, 2):
            write_h5(root / DEPTHS.format(scene) / f"{t}.h5", truth.depth[t].numpy())
            write_jpg(root / "Undistorted_SfM" / scene / "images" / f"{t}.jpg", rgb(truth, t))
    return root


def run(root, *options):
    main = runpy.run_path(str(TOOL))["main"]
    return main([str(root), "--out", str(root.parent / "index"), "--smallest-depth", "0", *options])


def infos_of(index, stem):
    with (index / "scene_info_0.1_0.7" / f"{stem}.npz").open("rb") as file:
        return pickle.load(file)["pair_infos"]


@pytest.mark.parametrize("scene", ["0001", "0002"])
def test_overlaps_are_those_counted_by_hand(tree, scene):
    assert run(tree) == 0
    index = tree.parent / "index"
    low, middle = infos_of(index, f"{scene}_0.1_0.3"), infos_of(index, f"{scene}_0.3_0.5")
    found = {tuple(views): overlap for views, overlap, _ in low + middle}
    assert found == pytest.approx(OVERLAPS)
    assert {views for views, *_ in middle} == {(1, 2), (2, 1)}
    assert not (index / "scene_info_0.1_0.7" / f"{scene}_0.5_0.7.npz").exists()
    for (i, j), _, (y0, x0, y1, x1) in low + middle:
        point = (x0 - i) / 1.5
        assert point in POINTS[i] and point in POINTS[j]
        assert (x0, y0) == place(i, point) and (x1, y1) == place(j, point)


def test_the_list_keeps_the_scenes_of_earlier_runs(tree):
    for scene in ("0002", "0001"):
        assert run(tree, "--scenes", scene) == 0
    stems = (tree.parent / "index/trainvaltest_list/train_list.txt").read_text().split()
    assert stems == [f"{scene}_{bounds}" for scene in ("0001", "0002") for bounds in ("0.1_0.3", "0.3_0.5")]


def test_our_reader_takes_what_it_writes(tree, truth):
    assert run(tree) == 0
    index = IndexFiles(
        folder="index/scene_info_0.1_0.7",
        scenes="index/trainvaltest_list/train_list.txt",
        without=[],
        min_overlap=0.15,
        max_overlap=0.7,
        max_pairs=None,
    )
    pairs = MegaDepth(str(tree.parent), "train", index, 96)
    assert len(pairs) == 8 and [pairs.scene(i) for i in (0, 7)] == ["0001", "0002"]
    assert pairs[0].name == f"megadepth/0001/{FRAMES[0]}-{FRAMES[1]}"
    flow, expected = supervised_clip(pairs[0], torch.ones(1, 2), dense=True).flow, true_flow(truth)
    valid = flow.valid[1, :64]
    error = (flow.displacement[1, :64] - expected.displacement[0]).norm(dim=-1)
    assert valid.float().mean() > 0.5 and error[valid].max() < 1e-4


def test_numpy_opens_it_as_loftr_does(tree):
    assert run(tree, "--scenes", "0001") == 0
    path = tree.parent / "index" / "scene_info_0.1_0.7" / "0001_0.1_0.3.npz"
    info = np.load(path, allow_pickle=True)
    infos = info["pair_infos"].copy()
    del info["pair_infos"]
    (first, second), overlap, middle = infos[0]
    assert overlap > 0 and len(middle) == 4
    assert np.array(info["intrinsics"][first].copy()).shape == (3, 3)
    assert np.matmul(info["poses"][second], np.linalg.inv(info["poses"][first])).shape == (4, 4)
    assert info["image_paths"][first].startswith("Undistorted_SfM/0001/images/")
    assert info["image_paths"][3] is None and info["depth_paths"][3] is None


def test_small_depth_files_are_no_depth(tree):
    assert run(tree, "--smallest-depth", "1000000") == 0
    assert list((tree.parent / "index").rglob("*.npz")) == []
    assert (tree.parent / "index/trainvaltest_list/train_list.txt").read_text() == ""


@pytest.mark.parametrize(
    ("scene", "file", "content"),
    [
        ("0001", "images.txt", b"1 2 3\n\n"),
        ("0001", "cameras.txt", b"7 RADIAL 96 64 1 2 3 4 5\n"),
        ("0001", "cameras.txt", b"# none\n"),
        ("0002", "images.bin", b"\x09" + b"\0" * 40),
        ("0002", "cameras.bin", b"\x01"),
    ],
)
def test_a_broken_model_is_one_line_and_exit_code_2(tree, capsys, scene, file, content):
    (path,) = (tree / "Undistorted_SfM" / scene).rglob(file)
    path.write_bytes(content)
    assert run(tree, "--scenes", scene) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and file.split(".")[0][:-1] in said


def test_a_tree_without_models_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    assert run(tmp_path / "train") == 2
    assert run(tmp_path / "train", "--scenes", "0001") == 2
    assert capsys.readouterr().err.count("\n") == 2
