"""MegaDepth-1500 on files in LoFTR's structure: what is read, an oracle, and what is malformed."""

import pickle

import numpy as np
import pytest
import torch
from pair_layouts import FRAMES, megadepth1500, rgb, still, true_places
from posed_points import answer
from presets import open_benchmark

from retracker.benchmarks.results import summaries_of
from retracker.geometry.coords import rescale


@pytest.fixture(scope="module")
def truths():
    return [still(17), still(5)]


@pytest.fixture
def root(tmp_path, truths):
    megadepth1500.write(tmp_path, truths)
    return tmp_path


def opened(root, protocol="loftr"):
    return open_benchmark("megadepth1500", root, f"protocol={protocol}")


def index_file(root, name="0015_0.1_0.3"):
    return root / "megadepth_test_1500" / f"{name}.npz"


def exact(truth, *, back):
    """A matcher that knows the scene, and answers in px of whatever size it is shown."""
    source, target = FRAMES[::-1] if back else FRAMES

    def match(image0, image1):
        stored = tuple(truth.video.shape[-2:])
        rows, columns = torch.meshgrid(torch.arange(3, 62, 4), torch.arange(3, 94, 4), indexing="ij")
        xy0 = torch.stack([columns, rows], -1).reshape(-1, 2).double() + 0.3
        xy1, visible = true_places(truth, xy0, source, target)
        points = [xy0[visible], xy1.double()[visible]]
        sizes = [tuple(image.shape[-2:]) for image in (image0, image1)]
        return answer(*(rescale(xy, stored, size) for xy, size in zip(points, sizes, strict=True)))

    return match


def test_pairs_are_in_the_order_of_the_files_and_grouped_by_them(root):
    benchmark = opened(root)
    assert len(benchmark) == 10
    assert [benchmark.group(i) for i in (0, 1, 2, 9)] == ["0015_0.1_0.3"] * 2 + [
        "0015_0.3_0.5",
        "0022_0.5_0.7",
    ]
    names = [benchmark.item_name(i) for i in range(10)]
    assert names[:2] == ["0015_0.1_0.3/000/0-5", "0015_0.1_0.3/001/5-0"] and len(set(names)) == 10


def test_a_pair_is_what_the_index_says(root, truths):
    pair = opened(root).read(1)  # back: from the second frame to the first
    assert pair.image0.shape == (3, 64, 96)
    difference = np.abs(pair.image0.permute(1, 2, 0).numpy().astype(int) - rgb(truths[0], FRAMES[1]))
    assert difference.mean() < 2  # JPEG
    assert torch.equal(pair.intrinsics0, truths[0].intrinsics[FRAMES[1]])
    motion = truths[0].poses[FRAMES[0]] @ torch.linalg.inv(truths[0].poses[FRAMES[1]])
    assert torch.allclose(pair.pose_0to1, motion, atol=1e-12)


@pytest.mark.parametrize("protocol", ["loftr", "roma", "superglue_yfcc", "gluefactory_opencv"])
def test_an_oracle_scores_100(root, truths, protocol):
    benchmark, scores, groups = opened(root, protocol), {}, {}
    for index in (0, 3, 4, 9):
        name = benchmark.item_name(index)
        item, groups[name] = benchmark.read(index), benchmark.group(index)
        truth = truths[name.startswith("0022")]
        scores[name] = benchmark.score(item, benchmark.ask(exact(truth, back=index % 2 == 1), item))
    found = summaries_of(benchmark, scores, groups)
    for column in benchmark.headline:
        assert found["all"].values[column.metric] > 0.999, column.heading
    assert found["all"].values["epipolar_precision"] > 0.999
    assert set(found) == {"0015_0.1_0.3", "0015_0.3_0.5", "0022_0.1_0.3", "0022_0.5_0.7", "all"}


def test_a_title_tells_protocol_solver_threshold_and_that_pairs_are_missing(root):
    assert opened(root).title == "MegaDepth-1500 (loftr: OpenCV RANSAC, 0.5 px) (10 of 1500 pairs)"


@pytest.mark.parametrize("folder", ["megadepth_test_1500_scene_info", "scene_info"])
def test_the_index_may_lie_in_loftrs_own_folder(tmp_path, truths, folder):
    megadepth1500.write(tmp_path, truths, index=folder)
    assert opened(tmp_path).read(0).name == "0015_0.1_0.3/000/0-5"


def test_true_npz_files_with_2_tuples_are_read_as_well(root):
    content = pickle.loads(index_file(root).read_bytes())
    infos = np.empty(3, object)
    infos[:] = [(tuple(views), overlap) for views, overlap, _ in content["pair_infos"]]
    before = opened(root).read(0)
    np.savez(index_file(root), **content | {"pair_infos": infos})
    after = opened(root).read(0)
    assert torch.equal(after.pose_0to1, before.pose_0to1) and after.name == before.name


def test_nothing_there_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing of MegaDepth-1500; expected megadepth_test_1500/0"):
        opened(tmp_path)


def test_a_missing_index_file_is_named(root):
    index_file(root, "0022_0.5_0.7").unlink()
    with pytest.raises(FileNotFoundError, match=r"0022_0\.5_0\.7\.npz"):
        opened(root)


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", pickle.dumps([1, 2]), pickle.dumps({"pair_infos": [1]})]
)
def test_a_broken_index_is_one_sentence(root, content):
    index_file(root).write_bytes(content)
    with pytest.raises(ValueError, match=r"0015_0\.1_0\.3\.npz: ") as error:
        opened(root)
    assert "\n" not in str(error.value)


def test_a_missing_image_is_named(root):
    benchmark = opened(root)
    (root / "megadepth_test_1500/Undistorted_SfM/0015/images/5.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"0015/images/5\.jpg"):
        benchmark.read(0)


def test_a_broken_image_is_named(root):
    path = root / "megadepth_test_1500/Undistorted_SfM/0015/images/0.jpg"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"0015/images/0\.jpg"):
        opened(root).read(0)


def test_a_pose_that_is_not_finite_is_named(root):
    content = pickle.loads(index_file(root).read_bytes())
    content["poses"][2] = np.full((4, 4), -np.inf)
    index_file(root).write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"0015_0\.1_0\.3\.npz: 0015_0.1_0.3/000/0-5: expected a rigid pose"):
        opened(root).read(0)


def test_intrinsics_of_another_size_are_refused(root):
    content = pickle.loads(index_file(root).read_bytes())
    content["intrinsics"] = [None if k is None else k * [[2], [2], [1]] for k in content["intrinsics"]]
    index_file(root).write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"0015_0\.1_0\.3\.npz: .*is no centre of"):
        opened(root).read(0)
