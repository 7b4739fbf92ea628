"""ScanNet-1500 on files in LoFTR's and RoMa's structure: cameras by protocol, an oracle, malformed files."""

import numpy as np
import pytest
import torch
from pair_layouts import FRAMES, scannet1500, still, true_places
from posed_points import answer
from presets import open_benchmark

from retracker.geometry.coords import rescale

PROTOCOLS = ["loftr", "roma", "superglue_yfcc", "gluefactory_opencv"]


@pytest.fixture(scope="module")
def truths():
    return [still(17), still(5)]


@pytest.fixture
def root(tmp_path, truths):
    scannet1500.write(tmp_path, truths)
    return tmp_path


def opened(root, protocol="loftr"):
    return open_benchmark("scannet1500", root, f"protocol={protocol}")


def folder(root):
    return root / "scannet_test_1500"


def exact(truth):
    def match(image0, image1):
        stored = tuple(truth.video.shape[-2:])
        rows, columns = torch.meshgrid(torch.arange(3, 62, 4), torch.arange(3, 94, 4), indexing="ij")
        xy0 = torch.stack([columns, rows], -1).reshape(-1, 2).double() + 0.3
        xy1, visible = true_places(truth, xy0, *FRAMES)
        points = [xy0[visible], xy1.double()[visible]]
        sizes = [tuple(image.shape[-2:]) for image in (image0, image1)]
        return answer(*(rescale(xy, stored, size) for xy, size in zip(points, sizes, strict=True)))

    return match


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cameras_are_in_raster_pixels_of_the_stored_image_from_either_source(root, truths, protocol):
    pair = opened(root, protocol).read(1)
    assert pair.image0.shape == (3, 640, 960)
    true = truths[1].intrinsics[FRAMES[0]] * torch.tensor([[10.0], [10.0], [1.0]], dtype=torch.float64)
    assert torch.allclose(pair.intrinsics0, true, atol=1e-5) and torch.equal(
        pair.intrinsics1, pair.intrinsics0
    )
    motion = truths[1].poses[FRAMES[1]] @ torch.linalg.inv(truths[1].poses[FRAMES[0]])
    assert torch.allclose(pair.pose_0to1, motion, atol=1e-6)  # text of 9 digits, or float32


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_oracle_scores_100(root, truths, protocol):
    benchmark, scores = opened(root, protocol), {}
    for index, truth in enumerate(truths):
        item = benchmark.read(index)
        scores[item.name] = benchmark.score(item, benchmark.ask(exact(truth), item))
    found = benchmark.summarise(scores).values
    assert min(found[column.metric] for column in benchmark.headline) > 0.999
    assert found["epipolar_precision"] > 0.999


def test_names_and_the_protocol(root):
    benchmark = opened(root)
    assert [benchmark.item_name(i) for i in range(2)] == ["scene0707_00/0-5", "scene0708_00/0-5"]
    assert benchmark.title == "ScanNet-1500 (loftr: OpenCV RANSAC, 0.5 px) (2 of 1500 pairs)"
    assert benchmark.protocol["cameras"] == "files" and benchmark.protocol["epipolar_threshold"] == 5e-4
    assert benchmark.protocol["matched_image"] == "640 x 480 px"


def test_scans_may_lie_as_roma_has_them(tmp_path, truths):
    scannet1500.write(tmp_path, truths, scans="scans_test")
    assert opened(tmp_path, "roma").read(0).name == "scene0707_00/0-5"


def test_nothing_there_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"nothing of ScanNet-1500; expected scannet_test_1500/test\.npz"
    ):
        opened(tmp_path)


def test_missing_scans_are_named(root):
    (folder(root) / "scene0707_00").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"_1500: has no scene0707_00 in \. or scans_test"):
        opened(root)


def test_a_protocol_that_takes_relative_poses_needs_them(root):
    path = folder(root) / "test.npz"
    np.savez(path, name=np.load(path)["name"])
    assert len(opened(root, "loftr")) == 2
    with pytest.raises(ValueError, match=r"test\.npz: has no rel_pose, which protocol roma takes"):
        opened(root, "roma")


@pytest.mark.parametrize(
    "content",
    [
        {"pairs": np.zeros((2, 4))},
        {"name": np.zeros((2, 3), np.uint16)},
        {"name": np.zeros((0, 4), np.uint16)},
        {"name": np.full((2, 4), 707.5)},
        {"name": np.zeros((2, 4), np.uint16), "rel_pose": np.zeros((2, 11))},
        {"name": np.zeros((2, 4), np.uint16), "rel_pose": np.zeros((3, 12))},
    ],
)
def test_a_malformed_list_is_one_sentence(root, content):
    np.savez(folder(root) / "test.npz", **content)
    with pytest.raises(ValueError, match=r"test\.npz: (expected|has 2 names)"):
        opened(root)


def test_a_list_that_is_no_archive_is_one_sentence(root):
    (folder(root) / "test.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(ValueError, match=r"test\.npz: "):
        opened(root)


def test_missing_intrinsics_of_a_scan_are_named(root):
    path = folder(root) / "intrinsics.npz"
    np.savez(path, scene0707_00=np.load(path)["scene0707_00"])
    with pytest.raises(ValueError, match=r"intrinsics\.npz: has no intrinsics of scene0708_00"):
        opened(root).read(1)


@pytest.mark.parametrize("numbers", [np.full((4, 4), -np.inf), np.zeros((4, 4))])
def test_a_lost_camera_is_named(root, numbers):
    np.savetxt(folder(root) / "scene0707_00/pose/5.txt", numbers)
    with pytest.raises(ValueError, match=r"pose/5\.txt: the camera was lost"):
        opened(root).read(0)


def test_a_pose_file_without_16_numbers_is_named(root):
    (folder(root) / "scene0707_00/pose/0.txt").write_text("1 2 3")
    with pytest.raises(ValueError, match=r"pose/0\.txt: expected 4 x 4 numbers"):
        opened(root).read(0)


def test_intrinsics_of_another_size_are_refused(root):
    path = folder(root) / "scene0707_00/intrinsic/intrinsic_color.txt"
    np.savetxt(path, np.loadtxt(path) * [[2], [2], [1], [1]])
    with pytest.raises(
        ValueError, match=r"intrinsic_color\.txt: the camera's centre .* is no centre of 960 x 640 px"
    ):
        opened(root, "roma").read(0)


def test_a_relative_pose_that_is_not_finite_is_named(root):
    path = folder(root) / "test.npz"
    content = dict(np.load(path))
    content["rel_pose"][0, 0] = np.nan
    np.savez(path, **content)
    with pytest.raises(ValueError, match=r"test\.npz: scene0707_00/0-5: expected a rigid pose"):
        opened(root, "roma").read(0)


def test_a_missing_image_is_named(root):
    (folder(root) / "scene0708_00/color/5.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"scene0708_00/color/5\.jpg"):
        opened(root).read(1)
