"""YFCC's pairs from files in exactly the public structure, with images that lie on their side."""

import itertools
import pickle
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from pair_layouts import FRAMES, rgb, still, true_places, write_jpg
from presets import open_benchmark
from yfcc_layout import LIST, SCENES, line, long_list, write

from retracker.benchmarks.protocol import Matched
from retracker.data import safe_pickle
from retracker.geometry.camera import relative_pose
from retracker.geometry.coords import rescale

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "make_yfcc1500.py"), run_name="tool")["main"]
SEED = 10  # of a scene seen from two places that are far apart
TURNS = list(itertools.product(range(4), range(4)))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """One pair for every way that two images may lie, of two scenes."""
    root = tmp_path_factory.mktemp("yfcc")
    write(root, [(still(SEED), SCENES[2 * (number // 8)], turns) for number, turns in enumerate(TURNS)])
    return root


@pytest.fixture(scope="module")
def benchmark(root):
    return open_benchmark("yfcc", root)


def oracle(image0, image1):
    """Exact matches between the two upright frames of the truth, in px of whatever size they are shown."""
    truth = still(SEED)
    size = tuple(truth.video.shape[-2:])
    y, x = torch.meshgrid(torch.arange(2.5, size[0], 4), torch.arange(2.5, size[1], 4), indexing="ij")
    xy = torch.stack([x, y], -1).reshape(-1, 2).double()
    there, seen = true_places(truth, xy)
    points = [
        rescale(part[seen], size, tuple(image.shape[-2:])).float()
        for part, image in ((xy, image0), (there, image1))
    ]
    return Matched(points0=points[0], points1=points[1], confidence=torch.ones(int(seen.sum())))


def nothing(image0, image1):
    del image0, image1
    return Matched(points0=torch.zeros(0, 2), points1=torch.zeros(0, 2), confidence=torch.zeros(0))


@pytest.mark.parametrize("number", range(16), ids=[f"{a}{b}" for a, b in TURNS])
def test_an_image_on_its_side_is_read_as_if_it_had_been_taken_upright(benchmark, number):
    truth, item = still(SEED), benchmark.read(number)
    for image, t in ((item.image0, FRAMES[0]), (item.image1, FRAMES[1])):
        apart = image.float() - truth.video[t].float()
        assert apart.abs().mean() < 3  # a JPEG of it
    torch.testing.assert_close(item.intrinsics0, truth.intrinsics[FRAMES[0]])
    torch.testing.assert_close(item.intrinsics1, truth.intrinsics[FRAMES[1]])
    expected = relative_pose(truth.poses[FRAMES[0]], truth.poses[FRAMES[1]])
    torch.testing.assert_close(item.pose_0to1, expected)


def test_an_oracle_scores_100_however_images_lie(benchmark):
    scores = {}
    for index in range(len(benchmark)):
        item = benchmark.read(index)
        scores[benchmark.item_name(index)] = benchmark.score(item, benchmark.ask(oracle, item))
    assert max(of_pair["pose_error"] for of_pair in scores.values()) < 0.01
    summary = benchmark.summarise(scores).values
    assert summary["exact_auc_5"] > 0.9995 and summary["epipolar_precision"] == 1


def test_no_match_scores_nothing(benchmark):
    item = benchmark.read(3)
    scores = {"one": benchmark.score(item, benchmark.ask(nothing, item))}
    summary = benchmark.summarise(scores).values
    assert scores["one"]["pose_error"] == float("inf")
    assert [summary[f"exact_auc_{degrees}"] for degrees in (5, 10, 20)] == [0, 0, 0]


def test_pairs_are_grouped_by_scene_and_measured_by_superglues_rules(benchmark, root):
    assert len(benchmark) == 16
    assert benchmark.item_name(9) == "reichstag/0009/9_0-9_5"
    assert benchmark.group(0) == "buckingham_palace" and benchmark.group(15) == "reichstag"
    assert benchmark.title == "YFCC (superglue_yfcc: OpenCV RANSAC, 1 px) (16 of 4000 pairs)"
    assert benchmark.protocol["selection"] == "the public list"
    assert open_benchmark("yfcc", root, "protocol=roma").protocol["preset"] == "roma"


def test_intrinsics_of_the_list_count_pixel_indices(tmp_path):
    camera = np.array([[500.0, 0, 31.5], [0, 500.0, 23.5], [0, 0, 1]])  # of 64 x 48: the middle, by index
    moved = np.eye(4)
    moved[0, 3] = 1.0
    paths = [f"reichstag/test/images/{side}.jpg" for side in "ab"]
    for path in paths:
        write_jpg(tmp_path / "yfcc100m" / path, np.zeros((48, 64, 3), np.uint8))
    (tmp_path / LIST).write_text(line(paths, (0, 1), [camera, camera], moved))
    item = open_benchmark("yfcc", tmp_path).read(0)
    assert item.intrinsics0[:2, 2].tolist() == [32.0, 24.0]
    assert item.intrinsics1[:2, 2].tolist() == [24.0, 32.0] and item.image1.shape == (3, 64, 48)
    # Turned counter-clockwise, what pointed right points up: the motion along x is one along -y.
    assert item.pose_0to1[:3, 3].tolist() == [0.0, -1.0, 0.0]


# --- the tool, and what it writes -------------------------------------------------------------------------


def make(tmp_path, content, out="yfcc1500"):
    (tmp_path / "public.txt").write_text(content)
    return TOOL([str(tmp_path / "public.txt"), "--out", str(tmp_path / out)])


def test_the_tool_takes_the_first_375_of_each_scene_and_always_writes_the_same(tmp_path):
    assert make(tmp_path, long_list()) == make(tmp_path, long_list(), "again") == 0
    files = sorted((tmp_path / "yfcc1500").iterdir())
    assert [file.name for file in files] == [f"{scene}.npz" for scene in sorted(SCENES)]
    assert all(file.read_bytes() == (tmp_path / "again" / file.name).read_bytes() for file in files)
    index = safe_pickle.load(files[2])
    assert index["dataset_name"] == "yfcc" and len(index["pair_infos"]) == 375
    assert index["pair_infos"][374] == ((748, 749), -1.0)
    assert index["image_paths"][748:] == [f"reichstag/test/images/374_{side}.jpg" for side in "ab"]
    assert index["poses"][748] == np.eye(4).tolist() and index["exif_rot"][748:] == [374 % 4, 0]
    fields = long_list().splitlines()[2 * 380 + 374].split()
    assert np.array(index["intrinsics"][749]).reshape(-1).tolist() == [
        float(field) for field in fields[13:22]
    ]
    assert np.array(index["poses"][749]).reshape(-1).tolist() == [float(field) for field in fields[22:]]


def test_numpy_reads_what_the_tool_writes_as_it_reads_loftrs(tmp_path):
    make(tmp_path, long_list())
    index = np.load(tmp_path / "yfcc1500" / "reichstag.npz", allow_pickle=True)
    assert isinstance(index, dict) and np.array(index["intrinsics"]).shape == (750, 3, 3)


def test_pairs_that_are_mixed_are_taken_by_scene(tmp_path):
    lines = long_list(375).splitlines(keepends=True)
    mixed = [lines[scene * 375 + number] for number in range(375) for scene in range(4)]
    assert make(tmp_path, "".join(lines)) == make(tmp_path, "".join(mixed), "again") == 0
    for file in (tmp_path / "yfcc1500").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_the_1500_are_read_as_the_lines_they_were_made_from(benchmark, root, tmp_path):
    lines = (root / LIST).read_text().splitlines(keepends=True)
    copies = []  # the same two images under as many names as the tool asks for
    for scene, number in itertools.product(SCENES, range(375)):
        fields = lines[6].split()
        copies.append(" ".join([f"{scene}/test/images/{number}.jpg", *fields[1:]]) + "\n")
    assert make(tmp_path, "".join(copies)) == 0
    for scene in SCENES[1:]:  # reading all takes long under the type checker
        (tmp_path / "yfcc1500" / f"{scene}.npz").unlink()
    place = tmp_path / "yfcc100m" / SCENES[0] / "test" / "images"
    write_jpg(place / "0.jpg", np.ascontiguousarray(np.rot90(rgb(still(SEED), FRAMES[0]), -1)))
    write_jpg(place / f"6_{FRAMES[1]}.jpg", np.ascontiguousarray(np.rot90(rgb(still(SEED), FRAMES[1]), -2)))
    ours = open_benchmark("yfcc1500", tmp_path)
    assert TURNS[6] == (1, 2) and len(ours) == 375
    assert ours.title.startswith("YFCC-1500 (375 x 4, ours) (superglue_yfcc: OpenCV RANSAC, 1 px)")
    assert "not to be compared" in ours.protocol["selection"]
    assert len({ours.item_name(index) for index in range(375)}) == 375
    ours, theirs = ours.read(0), benchmark.read(6)
    for name in ("image0", "image1", "intrinsics0", "intrinsics1", "pose_0to1"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


# --- what is malformed ------------------------------------------------------------------------------------


GOOD = line(
    ["reichstag/test/images/a.jpg", "reichstag/test/images/b.jpg"],
    (0, 3),
    [np.array([[500.0, 0, 31.5], [0, 500.0, 23.5], [0, 0, 1]])] * 2,
    np.array([[1.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
)


def changed(field, word):
    words = GOOD.split()
    words[field] = word
    return " ".join(words) + "\n"


BROKEN = [
    (GOOD + " ".join(GOOD.split()[:-1]), "line 2: expected 38 fields, got 37"),
    (GOOD + "\n" + changed(8, "one"), "line 3: expected numbers behind both paths"),
    (changed(2, "4"), "line 1: expected turns of 0 to 3 quarters, got 4 and 3"),
    (changed(3, "0.5"), "line 1: expected numbers behind both paths"),
    (changed(4, "0.0"), "line 1: expected cameras"),
    (changed(13, "nan"), "line 1: expected cameras"),
    (changed(12, "2.0"), "line 1: expected cameras"),
    (changed(22, "2.0"), "line 1: expected a rigid pose"),
    (changed(25, "0.0"), "line 1: .* no direction"),
    ("", "is empty"),
    ("\n\n", "lists no pair"),
    (b"\xff\xfe\x00\x00\xd8", "expected lines of text with 38 fields"),
]


@pytest.mark.parametrize(("content", "message"), BROKEN)
def test_a_broken_list_is_told_in_one_line(tmp_path, content, message, capsys):
    path = tmp_path / LIST
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as told:
        open_benchmark("yfcc", tmp_path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)
    assert TOOL([str(path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (long_list(374), "expected at least 375 pairs of buckingham_palace, got 374"),
        (GOOD, "expected pairs of buckingham_palace, notre_dame_front_facade, .* got reichstag"),
    ],
)
def test_the_tool_refuses_another_list_and_writes_nothing(tmp_path, content, message, capsys):
    assert make(tmp_path, content) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("make_yfcc1500: ") and str(tmp_path / "public.txt") in told
    assert re.search(message, told)
    assert not (tmp_path / "yfcc1500").exists()


def test_a_list_that_is_missing_is_told(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=f"has nothing of YFCC; expected {LIST}"):
        open_benchmark("yfcc", tmp_path)
    assert TOOL([str(tmp_path / "none.txt"), "--out", str(tmp_path / "out")]) == 2
    assert "none.txt: no such file" in capsys.readouterr().err


def test_images_that_are_missing_or_broken_are_told(tmp_path):
    (tmp_path / LIST).write_text(GOOD)
    with pytest.raises(
        FileNotFoundError, match="has no reichstag/test/images/a.jpg in any of yfcc100m, raw_data"
    ):
        open_benchmark("yfcc", tmp_path)
    write_jpg(tmp_path / "yfcc100m/reichstag/test/images/a.jpg", np.zeros((48, 64, 3), np.uint8))
    benchmark = open_benchmark("yfcc", tmp_path)
    with pytest.raises(FileNotFoundError, match="b.jpg: no such file"):
        benchmark.read(0)
    (tmp_path / "yfcc100m/reichstag/test/images/b.jpg").write_bytes(b"none")
    with pytest.raises(ValueError, match="b.jpg: cannot be read as an image"):
        benchmark.read(0)


def test_an_image_of_another_size_than_its_camera_is_refused(tmp_path):
    (tmp_path / LIST).write_text(GOOD)
    for side, size in (("a", (48, 64)), ("b", (480, 640))):
        path = tmp_path / f"yfcc100m/reichstag/test/images/{side}.jpg"
        write_jpg(path, np.zeros((*size, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"b\.jpg: the camera's centre \(32, 24\) is no centre of 640 x 480 px"
    ):
        open_benchmark("yfcc", tmp_path).read(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"poses": None}, "has no poses"),
        ({"pair_infos": [((0, 2), -1.0)]}, "pair 0: is no pair of two views"),
        ({"pair_infos": [((0,), -1.0)]}, "pair 0: is no pair of two views"),
        ({"pair_infos": []}, "lists no pair"),
        ({"intrinsics": [[1.0, 2.0]] * 2}, "pair 0: is no pair of two views"),
        ({"poses": [np.zeros((4, 4)).tolist()] * 2}, "pair 0: is no pair of two views"),
    ],
)
def test_a_broken_index_is_told_in_one_line(tmp_path, change, message):
    camera = [[500.0, 0.0, 31.5], [0.0, 500.0, 23.5], [0.0, 0.0, 1.0]]
    moved = np.eye(4)
    moved[0, 3] = 1
    index = {
        "image_paths": ["reichstag/a.jpg", "reichstag/b.jpg"],
        "intrinsics": [camera, camera],
        "poses": [np.eye(4).tolist(), moved.tolist()],
        "pair_infos": [((0, 1), -1.0)],
    } | change
    path = tmp_path / "yfcc1500" / "reichstag.npz"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps({name: part for name, part in index.items() if part is not None}))
    with pytest.raises(ValueError, match=message) as told:
        open_benchmark("yfcc1500", tmp_path)
    assert str(path) in str(told.value) and "\n" not in str(told.value)
