import numpy as np
import pytest
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.pointodyssey import PointOdyssey


def write(root, file="anno.npz", **arrays):
    folder = root / "train" / "ani"
    write_pictures(folder / "rgbs", [f"rgb_{t:05d}.jpg" for t in range(3)])
    np.savez(folder / file, **({"trajs_2d": two_points()} | arrays))
    return PointOdyssey(str(root), split="train")


@pytest.mark.parametrize("file", ["anno.npz", "annotations.npz"])
@pytest.mark.parametrize("spelling", ["visibs", "visibilities"])
def test_all_releases_are_read(tmp_path, file, spelling):
    sample = write(tmp_path, file, **{spelling: np.array([[1, 1], [1, 0], [1, 1]])})[0]
    assert sample.visible.tolist() == [[True, True], [True, False], [True, True]]
    assert sample.labelled.all() and sample.located.all()


def test_where_depth_is_impossible_nothing_is_known(tmp_path):
    sample = write(tmp_path, visibilities=np.array([[1, 1], [2, 0], [1, 1]], np.float16))[0]
    assert sample.visible.tolist() == [[True, True], [False, False], [True, True]]
    assert sample.labelled.tolist() == sample.located.tolist() == [[True, True], [False, True], [True, True]]


def test_where_a_point_is_not_valid_nothing_is_known(tmp_path):
    valid = np.array([[1, 1], [0, 1], [1, 1]], bool)
    sample = write(tmp_path, visibs=np.ones((3, 2), bool), valids=valid)[0]
    assert sample.visible.tolist() == sample.labelled.tolist() == sample.located.tolist() == valid.tolist()


@pytest.mark.parametrize("nowhere", [np.inf, -np.inf, np.nan, 3e6])
def test_a_position_that_is_none_is_not_known(tmp_path, nowhere):
    tracks = two_points().astype(np.float32)
    tracks[1, 0, 1] = nowhere
    sample = write(tmp_path, trajs_2d=tracks, visibs=np.ones((3, 2), bool), valids=np.ones((3, 2), bool))[0]
    assert sample.tracks.isfinite().all()
    assert not (sample.visible | sample.labelled | sample.located)[1, 0]
    assert (sample.visible & sample.labelled & sample.located).sum() == 5
