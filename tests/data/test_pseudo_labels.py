"""What is believed of labelled films."""

import numpy as np
import torch
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.pseudo_labels import PseudoLabels


def test_hiding_is_known_only_if_asked_for(tmp_path):
    write_pictures(tmp_path / "film" / "000000", [f"{t}.png" for t in range(3)])
    visible = np.array([[True, True], [False, True], [True, True]])
    located = visible.copy()
    np.savez(
        tmp_path / "film" / "000000.npz",
        tracks=two_points(3),
        visible=visible,
        located=located,
        labelled=np.ones((3, 2), bool),
    )
    plain, telling = (PseudoLabels(str(tmp_path), hidden=hidden)[0] for hidden in (False, True))
    assert plain.name == "pseudo_labels/film/000000"
    assert torch.equal(plain.labelled, torch.from_numpy(visible)) and telling.labelled.all()
    assert torch.equal(plain.located, telling.located) and torch.equal(plain.visible, telling.visible)
