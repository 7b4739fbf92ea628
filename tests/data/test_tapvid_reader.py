import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from layouts.tapvid import as_jpeg

from retracker.data.datasets.tapvid import TapVid

HIDDEN = np.array([[False, True, False], [True, False, False]])  # N T


def video(grey=0, num_frames=3, **changed):
    points = np.array([[[0.25, 0.5]] * num_frames, [[0.5, 0.25]] * num_frames], np.float32)
    frames = np.stack([np.full((6, 8, 3), grey + t, np.uint8) for t in range(num_frames)])
    return {"video": frames, "points": points, "occluded": HIDDEN[:, :num_frames]} | changed


def write(root, name, content):
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(pickle.dumps(content))
    return root


def test_points_are_multiplied_by_width_and_height_and_nothing_else(tmp_path):
    write(tmp_path, "tapvid_davis.pkl", {"goat": video()})
    sample = TapVid(str(tmp_path), subset="davis")[0]
    assert sample.tracks[:, 0].tolist() == [[2.0, 3.0], [0.0, 0.0], [2.0, 3.0]]
    assert sample.name == "tapvid/davis/goat"


def test_of_an_occluded_point_it_is_known_that_it_is_hidden_but_not_where_it_is(tmp_path):
    write(tmp_path, "tapvid_davis.pkl", {"goat": video()})
    sample = TapVid(str(tmp_path), subset="davis")[0]
    assert torch.equal(sample.visible, torch.from_numpy(~HIDDEN.T))
    assert torch.equal(sample.located, sample.visible) and sample.labelled.all()
    assert sample.queries.frame.tolist() == [0, 1]


@pytest.mark.parametrize("folder", ["", "tapvid_davis"])
def test_a_dict_of_videos_lies_in_the_root_or_in_its_usual_folder(tmp_path, folder):
    write(tmp_path / folder, "tapvid_davis.pkl", {"goat": video(0), "car": video(100)})
    clips = TapVid(str(tmp_path), subset="davis")
    assert [clips.title(i) for i in range(2)] == ["goat", "car"]  # as in the file: the benchmark's order
    assert clips[1].video[:, 0, 0, 0].tolist() == [100, 101, 102]


def test_a_list_of_videos_is_numbered(tmp_path):
    write(tmp_path, "tapvid_rgb_stacking.pkl", [video(0), video(100)])
    clips = TapVid(str(tmp_path), subset="rgb_stacking")
    assert len(clips) == 2 and clips.title(1) == "tapvid_rgb_stacking/0001"
    assert clips.read(1, [2, 0]).video[:, 0, 0, 0].tolist() == [102, 100]


@pytest.mark.parametrize("form", [np.array, list, tuple])  # np.array of bytes is what tapnet's script writes
@pytest.mark.parametrize("container", [list, dict])
def test_kinetics_is_shards_of_jpeg_files(tmp_path, form, container):
    for shard, greys in enumerate([(10, 60), (110,)]):
        frames = {grey: [as_jpeg(np.full((6, 8, 3), grey + t, np.uint8)) for t in range(3)] for grey in greys}
        videos = {f"id{grey}": video(video=form(jpegs)) for grey, jpegs in frames.items()}
        write(tmp_path, f"{shard:04d}_of_0010.pkl", videos if container is dict else list(videos.values()))
    clips = TapVid(str(tmp_path), subset="kinetics")
    assert len(clips) == 3 and [clips.num_frames(i) for i in range(3)] == [3, 3, 3]
    assert clips.title(1) == ("id60" if container is dict else "0000_of_0010/0001")
    grey = clips.read(2, [2, 1]).video[:, 0, 3, 4].tolist()
    assert np.allclose(grey, [112, 111], atol=1)


def test_a_jpeg_file_that_ends_early_is_named_with_its_video(tmp_path):
    jpegs = [as_jpeg(np.zeros((64, 64, 3), np.uint8))] * 3
    write(tmp_path, "0000_of_0010.pkl", [video(video=[*jpegs[:2], jpegs[2][:200]])])
    clips = TapVid(str(tmp_path), subset="kinetics")
    assert len(clips.read(0, [0, 1]).video) == 2
    with pytest.raises(ValueError, match="0000_of_0010.pkl: frame 2 of video 0: cannot be read"):
        clips[0]


def test_only_the_frames_asked_for_are_read(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "retracker.data.datasets.tapvid.decode_frame",
        lambda _, where: decoded.append(where) or np.zeros((6, 8, 3), np.uint8),
    )
    write(tmp_path, "0000_of_0010.pkl", [video(video=[b"a", b"b", b"c"])])
    TapVid(str(tmp_path), subset="kinetics").read(0, [1, 2])
    assert [where.split(": ")[1] for where in decoded] == ["frame 1 of video 0", "frame 2 of video 0"]


def test_labels_come_as_they_are_stored_and_each_frame_as_it_is_wanted(tmp_path):
    points = np.random.default_rng(0).random((2, 3, 2), np.float32)
    write(tmp_path, "tapvid_davis.pkl", {"goat": video(points=points)})
    clips = TapVid(str(tmp_path), subset="davis")
    found = clips.annotated(0, [2, 0], lambda frame: frame[:4, :5] + 1)
    assert found.video.shape == (2, 3, 4, 5) and found.video[:, 0, 0, 0].tolist() == [3, 1]
    assert found.points.dtype == np.float64
    np.testing.assert_array_equal(found.points, points[:, [2, 0]].swapaxes(0, 1))
    np.testing.assert_array_equal(found.hidden, HIDDEN[:, [2, 0]].T)
    assert clips.where(0) == f"{tmp_path}/tapvid_davis.pkl: video 'goat'"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured as Linux tells it")
def test_of_a_long_video_few_frames_are_in_memory_at_once(tmp_path):
    num_frames, megabyte = 256, 2**20
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, 256, 256, 3), np.uint8)  # 48 MB
    still = np.full((1, num_frames, 2), 0.5, np.float32)
    hidden = np.zeros((1, num_frames), bool)
    write(tmp_path, "robotap_split0.pkl", {"cup": {"video": frames, "points": still, "occluded": hidden}})
    clips, held = TapVid(str(tmp_path), subset="robotap"), []

    def small(frame):
        held.append(resident())
        return frame[:8, :8]

    before = resident()
    found = clips.annotated(0, range(num_frames), small)
    assert max(held) - before < 16 * megabyte
    np.testing.assert_array_equal(found.video.permute(0, 2, 3, 1).numpy(), frames[:, :8, :8])


def resident():
    """Bytes of memory that this process has."""
    told = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in told if line.startswith("VmRSS"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([{"video": np.zeros((3, 6, 8, 3), np.uint8)}], "video 0 is no dict of video, points and occluded"),
        ([3], "video 0 is no dict"),
        (3, "expected a dict or list of videos, got a int"),
        ({"goat": video(points=np.zeros((2, 4, 2)))}, "video 'goat' has 3 frames, but points"),
        ({"goat": video(occluded=np.zeros((1, 3), bool))}, "video 'goat' has 3 frames, but points"),
    ],
)
def test_what_a_file_lacks_is_told(tmp_path, content, told):
    write(tmp_path, "tapvid_davis.pkl", content)
    with pytest.raises(ValueError, match=f"tapvid_davis.pkl: {told}"):
        TapVid(str(tmp_path), subset="davis")


def test_an_unknown_subset_is_told(tmp_path):
    with pytest.raises(ValueError, match="expected as subset one of davis, rgb_stacking, kinetics, robotap"):
        TapVid(str(tmp_path), subset="tapvid")


@pytest.mark.parametrize(
    ("subset", "file"),
    [
        ("davis", "tapvid_davis.pkl"),
        ("kinetics", "0000_of_0000.pkl"),
        ("robotap", "robotap_split0.pkl"),
    ],
)
def test_a_set_that_is_not_there_is_told_by_a_file_as_it_would_be_called(subset, file, tmp_path):
    with pytest.raises(ValueError, match=f"expected files like {file} in it"):
        TapVid(str(tmp_path), subset)
