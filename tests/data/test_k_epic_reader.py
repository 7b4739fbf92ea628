import numpy as np
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.k_epic import KEpic


def test_nothing_is_known_where_a_point_is_not_valid(tmp_path):
    write_pictures(tmp_path / "train" / "P01" / "rgbs", ["0.jpg", "1.jpg", "2.jpg"])
    visible, valid = np.array([[1, 1], [1, 0], [1, 1]]), np.array([[1, 1], [0, 1], [1, 1]])
    np.savez(tmp_path / "train" / "P01" / "annot.npz", trajs_2d=two_points(), visibs=visible, valids=valid)
    sample = KEpic(str(tmp_path), split="train")[0]
    assert sample.visible.tolist() == [[True, True], [False, False], [True, True]]
    assert sample.labelled.tolist() == sample.located.tolist() == [[True, True], [False, True], [True, True]]
