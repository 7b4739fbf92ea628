import numpy as np
import pytest
import torch
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.kubric import Kubric
from retracker.data.safe_pickle import UnsafePickleError

VISIBLE = np.array([[True, True], [True, False], [False, True]])  # T N


def write_cotracker(folder, **changed):
    write_pictures(folder / "frames", ["000.png", "001.png", "002.png"])
    labels = {"coords": two_points().swapaxes(0, 1), "visibility": ~VISIBLE.T, "camera": {"focal": 35.0}}
    np.save(folder / f"{folder.name}.npy", labels | changed, allow_pickle=True)


def write_alltracker(folder):
    write_pictures(folder / "frames", ["0000.png", "0001.png", "0002.png"])
    labels = {
        "point_xys": two_points(),
        "point_visibs": VISIBLE,
        "point_xys_valid": np.array([[1, 1], [1, 0], [1, 0]]),
    }
    np.save(folder / "annot.npy", labels, allow_pickle=True)


def test_what_cotracker_calls_visibility_is_occlusion(tmp_path):
    write_cotracker(tmp_path / "0001")
    sample = Kubric(str(tmp_path), split=None)[0]
    assert torch.equal(sample.visible, torch.from_numpy(VISIBLE))
    assert sample.located.all() and sample.labelled.all()
    assert sample.name == "kubric/0001"


def test_what_alltracker_calls_visible_is_visible_and_only_valid_points_are_known(tmp_path):
    write_alltracker(tmp_path / "part" / "0001")
    sample = Kubric(str(tmp_path), split=None)[0]
    assert sample.visible.tolist() == [[True, True], [True, False], [False, False]]
    assert sample.located.tolist() == sample.labelled.tolist() == [[True, True], [True, False], [True, False]]


def test_layouts_are_told_apart_recording_by_recording(tmp_path):
    write_cotracker(tmp_path / "0001")
    write_cotracker(tmp_path / "0002" / "0002")  # an archive unpacked into a folder of its own
    write_alltracker(tmp_path / "part" / "0001")
    clips = Kubric(str(tmp_path), split=None)
    assert [clips[i].name for i in range(len(clips))] == [
        "kubric/0001",
        "kubric/0002/0002",
        "kubric/part/0001",
    ]


def test_a_point_outside_is_hidden_but_its_position_is_known(tmp_path):
    tracks = two_points()
    tracks[2, 0] = (-40.0, 3.0)
    write_cotracker(tmp_path / "0001", coords=tracks.swapaxes(0, 1), visibility=np.zeros((2, 3), bool))
    sample = Kubric(str(tmp_path), split=None)[0]
    assert not sample.visible[2, 0] and sample.labelled[2, 0] and sample.located[2, 0]


def test_a_divided_set_needs_a_split_and_keeps_to_it(tmp_path):
    write_cotracker(tmp_path / "train" / "0001")
    write_cotracker(tmp_path / "valid" / "0002")
    with pytest.raises(ValueError, match="is divided into train, valid; choose one as split"):
        Kubric(str(tmp_path), split=None)
    assert Kubric(str(tmp_path), split="valid")[0].name == "kubric/valid/0002"


def test_what_a_file_of_labels_lacks_is_told(tmp_path):
    write_cotracker(tmp_path / "0001")
    np.save(tmp_path / "0001" / "0001.npy", {"coords": two_points()}, allow_pickle=True)
    with pytest.raises(ValueError, match="0001.npy: expected a dict with an array 'visibility', got coords"):
        Kubric(str(tmp_path), split=None)[0]


def test_labels_that_ask_for_more_than_data_are_refused(tmp_path):
    write_cotracker(tmp_path / "0001", surprise=np.load)
    with pytest.raises(UnsafePickleError, match="0001.npy: asks for"):
        Kubric(str(tmp_path), split=None)[0]
