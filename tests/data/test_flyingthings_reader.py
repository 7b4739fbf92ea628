"""What is particular to FlyingThings: names, starts, sides, float16, and files that upstream left empty."""

import warnings

import numpy as np
import pytest
from layouts.flyingthings import FLOW, always_visible, write_flow, write_trajectories
from layouts.truth import rendered

from retracker.data.datasets.flyingthings import FlyingThings, FlyingThingsFlow
from retracker.data.recordings import Unusable
from retracker.media.flow import read_pfm, write_pfm


@pytest.fixture
def long():
    """A sequence of ten frames, as FlyingThings3D's all are."""
    return rendered(11, num_frames=10, height=32, width=48)


def trajectories(root, sides=("left", "right")):
    return FlyingThings(str(root), split="TRAIN", sides=list(sides))


def chained(root, **settings):
    return FlyingThingsFlow(
        str(root), split="TRAIN", **({"sides": ["left"], "spacing": 8, "every": 3} | settings)
    )


def test_each_start_is_a_recording_with_its_own_frames(tmp_path, long):
    write_trajectories(tmp_path, [long])
    folder = tmp_path / "trajs_ad/TRAIN/A/0000/left"
    kept = always_visible(long).tracks.numpy() - 0.5
    np.savez(folder / "trajs_at_2.npz", trajs=kept[2:10].astype(np.float16))
    clips = trajectories(tmp_path)
    assert [clips[i].name for i in range(2)] == [f"flyingthings/TRAIN/A/0000/left/{s}" for s in (0, 2)]
    assert clips.scene(0) == clips.scene(1) == "TRAIN/A/0000"
    assert (clips[1].video == long.video[2:]).all()
    assert (clips[1].tracks - always_visible(long).tracks[2:]).abs().max() < 1 / 32


def test_a_pixel_index_becomes_the_centre_of_that_pixel(tmp_path, long):
    write_trajectories(tmp_path, [long])
    index = np.tile(np.float16([[[3, 5]]]), (8, 1, 1))
    np.savez(tmp_path / "trajs_ad/TRAIN/A/0000/left/trajs_at_0.npz", trajs=index)
    assert trajectories(tmp_path)[0].tracks.unique(dim=0).tolist() == [[[3.5, 5.5]]]


@pytest.mark.parametrize(("below", "bound"), [(256, 1 / 16), (512, 1 / 8), (1024, 1 / 4)])
def test_float16_moves_a_coordinate_by_no_more_than_the_docstring_says(below, bound):
    exact = np.random.default_rng(0).uniform(below / 2, below - 1, 10000)
    moved = np.abs(exact.astype(np.float16).astype(np.float64) - exact)
    assert bound / 2 < moved.max() <= bound
    assert np.array_equal(np.arange(960).astype(np.float16), np.arange(960))  # where tracks start


def test_a_file_that_upstream_left_empty_is_unusable_not_broken(tmp_path, long):
    write_trajectories(tmp_path, [long])
    np.savez(tmp_path / "trajs_ad/TRAIN/A/0000/left/trajs_at_0.npz", trajs=None)
    with pytest.raises(Unusable, match=r"trajs_at_0\.npz: holds no trajectory"):
        trajectories(tmp_path)[0]


@pytest.mark.parametrize("arrays", [{"trajs": np.zeros((7, 3, 2))}, {"other": np.zeros(3)}])
def test_trajectories_of_another_shape_are_refused(tmp_path, long, arrays):
    write_trajectories(tmp_path, [long])
    np.savez(tmp_path / "trajs_ad/TRAIN/A/0000/left/trajs_at_0.npz", **arrays)
    with pytest.raises(ValueError, match=r"trajs_at_0\.npz: expected trajs of shape \(8, N, 2\)"):
        trajectories(tmp_path)[0]


def test_fewer_than_eight_frames_after_the_start_are_refused(tmp_path, long):
    write_trajectories(tmp_path, [long])
    for name in ("0015", "0014", "0013"):
        (tmp_path / f"frames_cleanpass_webp/TRAIN/A/0000/left/{name}.webp").unlink()
    with pytest.raises(ValueError, match="expected 8 frames from the one of index 0 on, got 7"):
        trajectories(tmp_path)[0]


def test_frames_may_be_png_in_the_folder_of_the_original(tmp_path, long):
    write_flow(tmp_path, [long])
    (tmp_path / "frames_cleanpass_webp").rename(tmp_path / "frames_cleanpass")
    assert chained(tmp_path)[0].name == "flyingthings_flow/TRAIN/A/0000/left"


def test_the_right_camera_has_files_of_its_own_letter(tmp_path, long):
    write_flow(tmp_path, [long])
    for folder in [*tmp_path.rglob("left")]:
        folder.rename(folder.with_name("right"))
    for path in tmp_path.rglob("*_L.pfm"):
        path.rename(path.with_name(path.name.replace("_L", "_R")))
    clips = FlyingThingsFlow(str(tmp_path), split="TRAIN", sides=["right"], spacing=8, every=3)
    assert clips[0].name.endswith("0000/right") and clips.scene(0) == "TRAIN/A/0000"


def test_a_split_that_is_not_there_is_told_with_what_was_looked_for(tmp_path, long):
    write_flow(tmp_path, [long])
    with pytest.raises(ValueError, match="frames_cleanpass_webp/TEST"):
        FlyingThingsFlow(str(tmp_path), split="TEST", sides=["left"], spacing=8, every=3)
    with pytest.raises(ValueError, match="trajs_ad/TRAIN"):
        trajectories(tmp_path)


def test_points_are_born_in_every_third_frame(tmp_path, long):
    write_flow(tmp_path, [long])
    few, many = chained(tmp_path, every=20)[0], chained(tmp_path, every=3)[0]
    assert few.queries.frame.unique().tolist() == [0]
    assert len(many.queries.frame.unique()) > 1 and many.tracks.shape[1] == 4 * few.tracks.shape[1]


def test_flow_of_another_size_is_named(tmp_path, long):
    write_flow(tmp_path, [long])
    path = tmp_path / "optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0009_L.pfm"
    write_pfm(path, read_pfm(path)[:-1])
    with pytest.raises(ValueError, match=r"IntoFuture_0009_L\.pfm: expected \(32, 48\) \(height, width\)"):
        chained(tmp_path)[0]


@pytest.mark.parametrize(
    ("path", "shape", "words"),
    [
        ("object_index/TRAIN/A/0000/left/0008.pfm", (32, 48, 3), "expected object indices"),
        (
            "optical_flow/TRAIN/A/0000/into_past/left/OpticalFlowIntoPast_0008_L.pfm",
            (32, 48),
            "expected flow",
        ),
    ],
)
def test_a_file_of_the_wrong_kind_is_named(tmp_path, long, path, shape, words):
    write_flow(tmp_path, [long])
    write_pfm(tmp_path / path, np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=f"{path.split('/')[-1]}: {words}"):
        chained(tmp_path)[0]


def test_no_flow_that_is_not_finite_leads_to_a_warning(tmp_path, long):
    write_flow(tmp_path, [long])
    path = tmp_path / "optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0008_L.pfm"
    flow = read_pfm(path).copy()
    flow[20:30, 20:30] = np.inf
    write_pfm(path, flow)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sample = FLOW.open(tmp_path)[0]
    assert sample.tracks.isfinite().all()


@pytest.mark.parametrize("settings", [{"spacing": 0}, {"every": 0}])
def test_a_grid_of_nothing_is_refused(tmp_path, long, settings):
    write_flow(tmp_path, [long])
    with pytest.raises(ValueError, match="spacing and every must be at least 1"):
        chained(tmp_path, **settings)


def test_a_side_that_is_not_there_is_no_recording_and_a_stray_file_is_no_frame(tmp_path, long):
    write_flow(tmp_path, [long])
    for stray in tmp_path.glob("frames_cleanpass*/TRAIN/*/*/left"):
        (stray / ".DS_Store").write_bytes(b"0")
    both, left = chained(tmp_path, sides=["left", "right"]), chained(tmp_path, sides=["left"])
    assert len(both) == len(left) == 1
    assert both.num_frames(0) == len(long.video)
