import numpy as np
from layouts.tiny import two_points, write_pictures

from retracker.data.datasets.egopoints import EgoPoints

# Frame by frame: seen; out of view; occluded at an unknown place; at a known place, of unknown visibility;
# not annotated.
POINT = {
    "valids": [1, 0, 0, 1, 0],
    "visibs": [1, 0, 0, 0, 0],
    "vis_valids": [1, 1, 1, 0, 0],
    "out_of_view": [0, 1, 0, 0, 0],
    "occluded": [0, 0, 1, 0, 0],
}


def write(root, **changed):
    folder = root / "P01_01_start_1_end_5"
    write_pictures(folder / "rgbs", [f"frame_{t:010d}.jpg" for t in range(1, 6)])
    masks = {name: np.array(mask, float)[:, None] for name, mask in (POINT | changed).items()}
    np.savez(folder / "annot.npz", trajs_2d=two_points(5)[:, :1], dynamic_obj_tracks=np.zeros(1), **masks)
    return EgoPoints(str(root))


def test_each_mask_means_what_its_authors_say(tmp_path):
    sample = write(tmp_path)[0]
    assert sample.visible[:, 0].tolist() == [True, False, False, False, False]
    assert sample.labelled[:, 0].tolist() == [True, True, True, False, False]
    assert sample.located[:, 0].tolist() == [True, False, False, True, False]


def test_out_of_view_wins_over_a_position_and_a_visibility(tmp_path):
    sample = write(tmp_path, valids=[1, 1, 0, 1, 0], visibs=[1, 1, 0, 0, 0], vis_valids=[1, 1, 0, 0, 0])[0]
    assert not sample.visible[1, 0] and sample.labelled[1, 0] and not sample.located[1, 0]
    assert not sample.visible[2, 0] and sample.labelled[2, 0]  # occluded alone says enough
