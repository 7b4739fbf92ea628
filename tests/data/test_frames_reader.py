import numpy as np
import pytest
import torch
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.k_epic import KEpic


def write_labels(folder, num_frames=3, **changed):
    arrays = {
        "trajs_2d": two_points(num_frames),
        "visibs": np.ones((num_frames, 2)),
        "valids": np.ones((num_frames, 2)),
    }
    np.savez(folder / "annot.npz", **(arrays | changed))


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "train" / "P01"
    write_pictures(folder / "rgbs", ["0.png", "1.png", "2.png"])
    write_labels(folder)
    return folder


def test_frames_are_in_the_order_of_their_numbers(folder, tmp_path):
    write_pictures(folder / "rgbs", [f"{t}.png" for t in range(12)])
    write_labels(folder, num_frames=12)
    sample = KEpic(str(tmp_path), split="train").read(0, [2, 10])
    assert sample.video[:, 0, 0, 0].tolist() == [20, 100]


def test_what_a_desktop_leaves_behind_is_no_frame_and_no_recording(folder, tmp_path):
    (folder / "rgbs" / "._0.png").write_bytes(b"resources")
    (folder / "rgbs" / "Thumbs.db").write_bytes(b"thumbs")
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "README.txt").touch()
    clips = KEpic(str(tmp_path), split="train")
    assert len(clips) == 1 and clips.num_frames(0) == 3
    assert clips[0].name == "k_epic/train/P01"


@pytest.mark.parametrize("num_labels", [2, 4])
def test_labels_and_frames_that_differ_in_number_are_both_named(folder, tmp_path, num_labels):
    write_labels(folder, num_labels)
    with pytest.raises(ValueError, match=rf"annot.npz: labels of {num_labels} frames, but .*rgbs has 3"):
        KEpic(str(tmp_path), split="train").read(0, [0])


@pytest.mark.parametrize(
    "changed",
    [{"trajs_2d": np.zeros((3, 2, 3))}, {"visibs": np.ones((3, 5))}, {"trajs_2d": np.zeros((3, 4))}],
)
def test_arrays_that_do_not_fit_are_told_with_their_shapes(folder, tmp_path, changed):
    write_labels(folder, **changed)
    with pytest.raises(ValueError, match=r"annot.npz: expected tracks of \(frames, points, 2\)"):
        KEpic(str(tmp_path), split="train").read(0, [0])


@pytest.mark.parametrize("dtype", ["<U1", np.complex64])
@pytest.mark.parametrize("name", ["trajs_2d", "visibs", "valids"])
def test_arrays_of_no_real_numbers_are_told(folder, tmp_path, name, dtype):
    write_labels(folder, **{name: np.zeros((3, 2, 2) if name == "trajs_2d" else (3, 2), dtype)})
    with pytest.raises(ValueError, match="annot.npz: expected numbers, got .* of (<U1|complex64)$"):
        KEpic(str(tmp_path), split="train").read(0, [0])


def test_a_missing_array_is_told_with_those_there_are(folder, tmp_path):
    np.savez(folder / "annot.npz", trajs_2d=two_points())
    with pytest.raises(ValueError, match="annot.npz: has no array 'visibs', only trajs_2d"):
        KEpic(str(tmp_path), split="train").read(0, [0])


def test_archives_that_were_not_unpacked_are_told(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0001.tar.gz").touch()
    with pytest.raises(ValueError, match=r"train: expected .* found none; .* 0001.tar.gz: unpack them first"):
        KEpic(str(tmp_path), split="train")


def test_a_split_that_is_not_there_is_named(folder, tmp_path):  # noqa: ARG001
    with pytest.raises(ValueError, match=r"/val: expected <seq>/rgbs beside <seq>/annot.npz, found none"):
        KEpic(str(tmp_path), split="val")


@pytest.mark.parametrize("mask", [bool, np.uint8, np.float16, np.float64, np.int64])
@pytest.mark.parametrize(("floating", "tolerance"), [(np.float16, 2**-11), (np.float32, 0), (np.float64, 0)])
def test_any_type_of_number_will_do(folder, tmp_path, mask, floating, tolerance):
    tracks = two_points() + 1 / 3
    visible = np.array([[1, 0], [1, 1], [0, 1]])
    write_labels(folder, trajs_2d=tracks.astype(floating), visibs=visible.astype(mask))
    sample = KEpic(str(tmp_path), split="train")[0]
    # Half floats hold 11 binary digits: relative to the position, that much may be lost.
    error = (sample.tracks.double() - torch.from_numpy(tracks.astype(np.float32))).abs()
    assert (error / torch.from_numpy(tracks)).max() <= tolerance
    assert torch.equal(sample.visible, torch.from_numpy(visible > 0))


def test_frames_of_one_recording_that_differ_in_size_are_named(folder, tmp_path):
    write_pictures(folder / "rgbs", ["2.png"], height=5)
    with pytest.raises(ValueError, match="2.png: expected a frame of"):
        KEpic(str(tmp_path), split="train")[0]


def test_a_frame_that_ends_early_is_refused(folder, tmp_path):
    for picture in (folder / "rgbs").iterdir():
        picture.unlink()
    write_pictures(folder / "rgbs", ["0.jpg", "1.jpg", "2.jpg"], height=64, width=64)
    content = (folder / "rgbs" / "1.jpg").read_bytes()
    (folder / "rgbs" / "1.jpg").write_bytes(content[:-40])
    with pytest.raises(ValueError, match="1.jpg: cannot be read as an image"):
        KEpic(str(tmp_path), split="train")[0]


def test_folders_may_have_dots_in_their_names(folder, tmp_path):
    folder.parent.rename(tmp_path / "v1.2")
    (tmp_path / "v1.2" / "P01").rename(tmp_path / "v1.2" / "P01.07")
    assert [clip.folder for clip in KEpic(str(tmp_path), split="v1.2").clips] == ["v1.2/P01.07"]
