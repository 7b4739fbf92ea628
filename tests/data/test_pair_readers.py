"""What each reader of posed pairs does with the oddities of its own format."""

import gc
import pickle
import shutil

import numpy as np
import pytest
import torch
from pair_layouts import megadepth, megadepth_d2net, rgb, scannet, still, write_h5, write_jpg

from retracker.commands.data_sets import open_data_set
from retracker.data.cache import DiskCache
from retracker.data.datasets.megadepth import MegaDepth
from retracker.data.datasets.megadepth_d2net import MegaDepthD2Net
from retracker.data.datasets.scannet import ScanNet
from retracker.data.recordings import Unusable

SIZE = 96


@pytest.fixture(scope="module")
def truths():
    return [still(13), still(17)]


@pytest.fixture
def mega(tmp_path, truths):
    megadepth.write(tmp_path, truths)
    return tmp_path


@pytest.fixture
def rooms(tmp_path, truths):
    scannet.write(tmp_path, truths)
    return tmp_path


def undistorted(root, name="0.jpg"):
    return root / "train" / "Undistorted_SfM" / "0001" / "images" / name


def original(root, name="0.jpg"):
    return root / "train" / megadepth.DEPTHS / "0001" / "dense0" / "imgs" / name


def depth_file(root):
    return root / "train" / megadepth.DEPTHS / "0001" / "dense0" / "depths" / "0.h5"


def test_an_original_image_stands_in_if_it_is_as_large_as_its_depth(mega):
    pairs = MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    whole = pairs[0]
    original(mega).parent.mkdir()
    shutil.move(undistorted(mega), original(mega))
    assert torch.equal(pairs[0].image0, whole.image0) and torch.equal(pairs[0].depth0, whole.depth0)


def test_an_original_image_of_another_size_is_refused(mega, truths):
    pairs = MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    undistorted(mega).unlink()
    write_jpg(original(mega), rgb(truths[0], 0)[:, 2:])
    with pytest.raises(ValueError, match=r"images/0\.jpg.*imgs/0\.jpg.*\(64, 94\).*\(64, 96\)"):
        pairs[0]


def test_without_either_image_the_undistorted_one_is_named(mega):
    pairs = MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    undistorted(mega).unlink()
    with pytest.raises(FileNotFoundError, match=r"Undistorted_SfM/0001/images/0\.jpg"):
        pairs[0]


def test_a_depth_file_in_no_folder_has_no_original_image_beside_it(mega):
    path = mega / "index/scene_info_0.1_0.7/0001_0.1_0.3.npz"
    content = pickle.loads(path.read_bytes())
    content["image_paths"][1], content["depth_paths"][1] = "nowhere.jpg", "nowhere.h5"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.jpg"):
        MegaDepth(str(mega), "", megadepth.index(), SIZE)[0]


def test_a_mask_in_place_of_depth_is_nothing_to_learn_from(mega):
    pairs = MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    write_h5(depth_file(mega), np.random.default_rng(0).integers(0, 3, (64, 96)))
    with pytest.raises(Unusable, match="no depth is known"):
        pairs[0]


def test_depth_of_another_size_than_its_image_is_brought_to_it(mega, truths):
    pairs = MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    whole = pairs[0]
    write_h5(depth_file(mega), truths[0].depth[0].numpy().repeat(3, 0).repeat(3, 1))
    torch.testing.assert_close(pairs[0].depth0, whole.depth0)
    assert torch.equal(pairs[0].intrinsics0, whole.intrinsics0)


def test_scenes_that_are_left_out_are_left_out_in_every_bin(mega):
    with pytest.raises(FileNotFoundError, match="0133_0.1_0.3"):
        MegaDepth(str(mega), "train", megadepth.index(without=[]), SIZE)
    pairs = MegaDepth(str(mega), "train", megadepth.index(without=["0133", "0001"]), SIZE)
    assert len(pairs) == 1 and pairs.scene(0) == "0042"


def test_the_overlap_of_pairs_is_limited(mega):
    def count(**limits):
        return len(MegaDepth(str(mega), "train", megadepth.index(**limits), SIZE))

    assert count() == 2 and count(min_overlap=0.0) == 4 and count(max_overlap=0.25) == 2
    with pytest.raises(ValueError, match="no pair"):
        count(min_overlap=0.3)
    with pytest.raises(ValueError, match="min_overlap <= max_overlap"):
        count(min_overlap=0.3, max_overlap=0.2)


def test_a_list_may_say_npz(mega):
    path = mega / "index/trainvaltest_list/train_list.txt"
    path.write_text("0042_0.1_0.3.npz\n\n")
    assert len(MegaDepth(str(mega), "train", megadepth.index(), SIZE)) == 1


def test_a_list_of_scenes_that_is_missing_or_empty_is_told(mega):
    path = mega / "index/trainvaltest_list/train_list.txt"
    path.write_text("\n\n")
    with pytest.raises(ValueError, match=r"train_list\.txt: names no scene"):
        MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"train_list\.txt: no such list.*scene_info_0\.1_0\.7"):
        MegaDepth(str(mega), "train", megadepth.index(), SIZE)


@pytest.mark.parametrize("without", [[15, 22], [13.0], "0015"])
def test_scenes_to_leave_out_are_names(without):
    with pytest.raises((ValueError, TypeError), match=r"index\.without|without"):
        megadepth.index(without=without)


def test_at_least_one_pair_of_a_file_is_asked_for():
    for make in (megadepth.index, scannet.scans):
        with pytest.raises(ValueError, match="max_pairs.*at least 1"):
            make(max_pairs=0)


def test_collecting_garbage_goes_on_after_an_index_is_read_or_refused(mega):
    path = mega / "index/scene_info_0.1_0.7/0001_0.1_0.3.npz"
    MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=path.name):
        MegaDepth(str(mega), "train", megadepth.index(), SIZE)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "content", [{"image_paths": []}, [1, 2], {"pair_infos": [((0, 9), 0.2)], "image_paths": ["a"]}, 7]
)
def test_an_index_of_another_kind_is_named(mega, content):
    path = mega / "index/scene_info_0.1_0.7/0001_0.1_0.3.npz"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"0001_0\.1_0\.3\.npz"):
        MegaDepth(str(mega), "train", megadepth.index(), SIZE)


def test_an_index_that_wants_code_is_refused(mega):
    path = mega / "index/scene_info_0.1_0.7/0001_0.1_0.3.npz"
    path.write_bytes(pickle.dumps({"pair_infos": print}))
    with pytest.raises(ValueError, match=r"0001_0\.1_0\.3\.npz.*print"):
        MegaDepth(str(mega), "train", megadepth.index(), SIZE)


def test_pairs_come_out_of_the_cache_as_from_the_files(mega, tmp_path_factory):
    cache = DiskCache(str(tmp_path_factory.mktemp("cache")), 1)
    fresh = MegaDepth(str(mega), "train", megadepth.index(), SIZE)[0]
    for _ in range(2):
        kept = MegaDepth(str(mega), "train", megadepth.index(), SIZE, cache)[0]
        assert torch.equal(kept.image1, fresh.image1) and torch.equal(kept.depth1, fresh.depth1)
        assert torch.equal(kept.pose_0to1, fresh.pose_0to1)


def test_images_may_lie_in_the_root_itself_also_when_the_command_says_so(tmp_path, truths):
    megadepth_d2net.write(tmp_path, truths)
    pairs = open_data_set("megadepth_d2net", str(tmp_path), ["images=", "size=96", "index.scenes=null"])
    assert torch.equal(pairs[0].image0, d2net(tmp_path)[0].image0)


@pytest.mark.parametrize(("setting", "message"), [("size=51.5", "size"), ("images=null", "images")])
def test_settings_of_a_wrong_kind_are_told_at_once(tmp_path, truths, setting, message):
    megadepth_d2net.write(tmp_path, truths)
    with pytest.raises(ValueError, match=message):
        open_data_set("megadepth_d2net", str(tmp_path), [setting, "index.scenes=null"])


def d2net(root, max_scale_ratio=float("inf"), **limits):
    return MegaDepthD2Net(str(root), "", megadepth_d2net.index(**limits), max_scale_ratio, SIZE)


def test_overlap_and_scale_of_d2_net_are_limited(tmp_path, truths):
    megadepth_d2net.write(tmp_path, truths)
    assert len(d2net(tmp_path)) == 2  # (1, 2) of both scenes
    both = d2net(tmp_path, min_overlap=0.05)
    assert len(both) == 4 and both[0].name.endswith("/0-5") and both[1].name.endswith("/5-0")
    assert len(d2net(tmp_path, 2.0, min_overlap=0.05)) == 2
    assert len(d2net(tmp_path, 3.0, min_overlap=0.05)) == 4
    assert len(d2net(tmp_path, min_overlap=0.05, max_pairs=1)) == 2
    with pytest.raises(ValueError, match="max_scale_ratio"):
        d2net(tmp_path, 0.5)


def test_a_lost_camera_is_nothing_to_learn_from(rooms):
    pairs = ScanNet(str(rooms), "train", scannet.scans(), SIZE)
    path = rooms / "train" / "scene0000_00" / "pose" / "0.txt"
    path.write_text("\n".join(["-inf -inf -inf -inf"] * 4))
    with pytest.raises(Unusable, match="scene0000_00/0-5"):
        pairs[0]
    path.write_text("1 0 0 0\n0 1 0 0\n")
    with pytest.raises(ValueError, match=r"scene0000_00/pose/0\.txt"):
        pairs[0]


def test_the_intrinsics_of_scannet_gain_half_a_pixel(rooms):
    matrix = np.array([[577.87, 0, 319.5], [0, 577.87, 239.5], [0, 0, 1]])
    path = rooms / "index" / "intrinsics.npz"
    np.savez(path, scene0000_00=matrix)
    pairs = ScanNet(str(rooms), "train", scannet.scans(), SIZE)
    # Those of depth maps of 96 x 64 here: the views are as large.
    expected = torch.tensor([[577.87, 0, 320], [0, 577.87, 240], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(pairs[0].intrinsics0, expected)
    with pytest.raises(ValueError, match=r"intrinsics\.npz.*scene0012_01"):
        pairs[1]


def test_pairs_of_a_scan_are_kept_spread_evenly(rooms):
    names = np.array([[0, 0, i, i + 1] for i in range(100)], np.uint16)
    score = np.where(np.arange(100) % 2, 0.7, 0.3).astype(np.float16)
    np.savez(rooms / "index/scene_data/train/scene0000_00.npz", name=names, score=score)
    pairs = ScanNet(str(rooms), "train", scannet.scans(max_pairs=5), SIZE)
    kept = [pairs.name(i) for i in range(5)]
    assert kept == [f"scannet/scene0000_00/{i}-{i + 1}" for i in (1, 25, 49, 73, 99)]
    assert len(pairs) == 6 and pairs.scene(4) == "scene0000" and pairs.scene(5) == "scene0012"
    with pytest.raises(ValueError, match="no score"):
        ScanNet(str(rooms), "train", scannet.scans(min_score=0.9), SIZE)
