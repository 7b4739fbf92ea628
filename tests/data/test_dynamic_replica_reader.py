import gzip
import json
import tracemalloc

import numpy as np
import pytest
import torch
from layouts.tiny import two_points

from retracker.data.datasets.dynamic_replica import DynamicReplica

VISIBLE = torch.tensor([[True, True], [True, False], [False, True]])


def write_list(root, entries):
    (root / "train").mkdir(parents=True, exist_ok=True)
    path = root / "train" / "frame_annotations_train.jgz"
    path.write_bytes(gzip.compress(json.dumps(entries).encode()))
    return path


def entry(sequence, t, camera="left", trajectories=True):
    return {
        "sequence_name": sequence,
        "frame_number": t,
        "frame_timestamp": t / 30,
        "image": {"path": f"{sequence}_{camera}/images/{t:04d}.png", "size": [6, 8]},
        "viewpoint": {"R": np.eye(3).tolist(), "T": [0.0, 0.0, 1.0]},
        "camera_name": camera,
        "trajectories": {"path": f"{sequence}_{camera}/trajectories/{t:06d}.pth"} if trajectories else None,
    }


def write_frame(root, t, sequence="a", **changed):
    folder = root / "train" / f"{sequence}_left" / "trajectories"
    folder.mkdir(parents=True, exist_ok=True)
    tracks = torch.from_numpy(two_points()).float()
    frame = {
        "img": torch.full((6, 8, 3), 10 * t, dtype=torch.uint8),
        "traj_2d": torch.cat([tracks[t], torch.ones(2, 1)], -1),
        "verts_inds_vis": VISIBLE[t],
    }
    torch.save(frame | changed, folder / f"{t:06d}.pth")


@pytest.fixture
def root(tmp_path):
    # Listed backwards, both cameras mixed, and one sequence of a part that was not downloaded.
    entries = [entry("a", t, camera) for t in (2, 1, 0) for camera in ("right", "left")]
    write_list(tmp_path, entries + [entry("b", t) for t in range(3)])
    for t in range(3):
        write_frame(tmp_path, t)
    return tmp_path


def opened(root, camera="left"):
    return DynamicReplica(str(root), split="train", camera=camera)


def test_the_left_camera_of_what_is_there_in_the_order_of_frame_numbers(root):
    clips = opened(root)
    assert len(clips) == 1 and clips.num_frames(0) == 3
    sample = clips[0]
    assert sample.name == "dynamic_replica/train/a"
    assert sample.video[:, 0, 0, 0].tolist() == [0, 10, 20]
    assert torch.equal(sample.visible, VISIBLE)  # verts_inds_vis: true where visible
    assert torch.equal(sample.tracks, torch.from_numpy(two_points()).float())
    assert sample.located.all() and sample.labelled.all()


def test_a_list_in_which_nothing_is_there_is_told(tmp_path):
    write_list(tmp_path, [entry("b", 0)])
    with pytest.raises(ValueError, match="train: has none of the 1 sequences of camera 'left'"):
        opened(tmp_path)


def test_a_camera_without_trajectories_is_told(tmp_path):
    write_list(tmp_path, [entry("a", 0, "right", trajectories=False)])
    with pytest.raises(ValueError, match="train.jgz: lists no trajectories of camera 'right'"):
        opened(tmp_path, camera="right")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
@pytest.mark.parametrize("text_is_cut", [True, False])
def test_a_list_that_ends_early_is_named(root, share, text_is_cut):
    path = root / "train" / "frame_annotations_train.jgz"
    content = path.read_bytes()
    if text_is_cut:
        text = gzip.decompress(content)
        path.write_bytes(gzip.compress(text[: int(share * len(text))]))
    else:
        path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="frame_annotations_train.jgz: cannot be read") as caught:
        opened(root)
    assert "\n" not in str(caught.value)


def test_a_long_list_is_never_held_whole(root):
    entries = [entry(f"s{s}", t) for s in range(40) for t in range(100)]
    write_list(root, [entry("a", t) for t in range(3)] + [{**e, "meta": "x" * 4000} for e in entries])
    tracemalloc.start()
    clips = opened(root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(clips) == 1
    assert peak < 10e6  # bytes; the text alone has 17 million


@pytest.mark.parametrize(
    "changed",
    [
        {"traj_2d": torch.ones(3, 3)},
        {"traj_2d": torch.ones(2)},
        {"img": torch.ones(6, 8, 3)},
        {"img": torch.ones(6, 8, 4, dtype=torch.uint8)},
        {"img": torch.ones(6, 8, dtype=torch.uint8)},
        {"verts_inds_vis": torch.ones(2, 1)},
    ],
)
def test_a_frame_whose_parts_do_not_fit_is_named(root, changed):
    write_frame(root, 1, **changed)
    with pytest.raises(ValueError, match="000001.pth: cannot be read as the trajectories of a frame"):
        opened(root)[0]


def test_a_frame_with_other_points_than_the_first_is_named(root):
    write_frame(root, 1, traj_2d=torch.ones(3, 3), verts_inds_vis=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"000001.pth: labels of shape \(3, 3\), expected \(2, 3\)"):
        opened(root)[0]


def test_a_frame_that_asks_for_more_than_tensors_is_refused(root):
    write_frame(root, 1, surprise=np.load)
    with pytest.raises(ValueError, match="000001.pth: cannot be read as the trajectories of a frame"):
        opened(root)[0]
