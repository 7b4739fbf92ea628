"""What people's own folders look like: names, types of number and leftovers that no renderer makes."""

import numpy as np
import pytest
import torch
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.media.video import write_video


def write_labels(path, num_frames=3, **changed):
    arrays = {"tracks": two_points(num_frames), "visible": np.ones((num_frames, 2), bool)}
    np.savez(path, **(arrays | changed))


def write_clip(root, name="a", num_frames=3, pattern="{}.png"):
    write_pictures(root / name, [pattern.format(t) for t in range(num_frames)])
    write_labels(root / f"{name}.npz", num_frames)


def names(root):
    return [name for name, _ in TracksFolder(str(root)).clips]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    write_clip(tmp_path, num_frames=12)
    assert TracksFolder(str(tmp_path)).read(0, [2, 10]).video[:, 0, 0, 0].tolist() == [20, 100]


def test_what_a_desktop_leaves_behind_is_no_frame_and_no_clip(tmp_path):
    write_clip(tmp_path)
    for leftover in ("a/._0.png", "a/Thumbs.db", "._a.npz", "._a", ".DS_Store"):
        (tmp_path / leftover).write_bytes(b"resources")
    assert names(tmp_path) == ["a"] and TracksFolder(str(tmp_path)).num_frames(0) == 3


@pytest.mark.parametrize("suffix", [".mp4", ".MP4", ".mov"])
def test_only_a_video_is_taken_for_the_video_of_a_clip(tmp_path, suffix, black_frames):
    write_video(tmp_path / f"a{suffix}", black_frames, fps=10)
    write_labels(tmp_path / "a.npz")
    for other in ("a.csv", "a.jpg", "a.json", "a.srt", "a.txt"):
        (tmp_path / other).write_bytes(b"notes")
    assert TracksFolder(str(tmp_path))[0].video.shape == black_frames.shape


@pytest.fixture
def black_frames():
    return torch.zeros(3, 3, 16, 24, dtype=torch.uint8)


@pytest.mark.parametrize("name", ["a.07", "2026.01.05/a", "day 1/ä b", "take.1/a.b"])
def test_names_may_hold_dots_and_spaces(tmp_path, name):
    write_clip(tmp_path, name)
    assert names(tmp_path) == [name]
    assert len(TracksFolder(str(tmp_path))[0].video) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"tracks": np.zeros((3, 2, 3))},
        {"tracks": np.zeros((3, 4))},
        {"visible": np.ones((2, 2), bool)},
        {"visible": np.ones((5, 2), bool)},
        {"visible": np.ones((3, 2, 1), bool)},
        {"located": np.ones((3, 1), bool)},
        {"labelled": np.ones((3, 5), bool)},
        {"tracks": np.full((3, 2, 2), "5")},
    ],
)
def test_arrays_that_do_not_fit_are_told_with_their_shapes(tmp_path, changed):
    write_clip(tmp_path)
    write_labels(tmp_path / "a.npz", **changed)
    with pytest.raises(ValueError, match=r"a.npz: expected tracks \(T,N,2\) .*, got tracks \(3, ") as caught:
        TracksFolder(str(tmp_path)).read(0, [0])
    assert "\n" not in str(caught.value)


def test_labels_and_frames_that_differ_in_number_are_told(tmp_path):
    write_clip(tmp_path)
    write_labels(tmp_path / "a.npz", num_frames=4)
    with pytest.raises(ValueError, match="a.npz: tracks of 4 frames beside a video of 3"):
        TracksFolder(str(tmp_path)).read(0, [0])


@pytest.mark.parametrize("number", ["f2", "f4", "f8", ">f4", "u2", "i8"])
def test_any_type_of_number_will_do(tmp_path, number):
    write_clip(tmp_path)
    visible = np.array([[1, 0], [1, 1], [0, 1]])
    tracks = np.floor(two_points())
    write_labels(tmp_path / "a.npz", tracks=tracks.astype(number), visible=visible.astype(number))
    sample = TracksFolder(str(tmp_path))[0]
    assert (sample.tracks.numpy() == tracks).all() and (sample.visible.numpy() == visible).all()
