import numpy as np
import pytest
import torch
from layouts.kubric import write_alltracker, write_cotracker
from layouts.tiny import write_pictures
from layouts.truth import rendered
from PIL import Image

from retracker.benchmarks.kubric import KubricBenchmark
from retracker.benchmarks.protocol import Tracked
from retracker.geometry.coords import rescale


def open_kubric(root, max_tracks=256, resolution=256):
    return KubricBenchmark("named", str(root), ["kubric/valid", "kubric/val"], max_tracks, resolution)


def truth_of(item):
    return Tracked(tracks=item.tracks, visible=item.visible, confidence=item.visible.float())


def write_tiny(root, visible, valid=None, tracks=None):
    """One recording of 8 x 6 pixels: AllTracker's layout where validity is given, else CoTracker's."""
    folder = root / "kubric" / "valid" / "0001"
    write_pictures(folder / "frames", [f"{t:03d}.png" for t in range(len(visible))])
    if tracks is None:
        tracks = np.random.default_rng(0).random((*visible.shape, 2)) * (8, 6)
    if valid is None:
        labels = {"coords": tracks.swapaxes(0, 1), "visibility": ~visible.T}  # true: hidden
        np.save(folder / "0001.npy", labels, allow_pickle=True)
    else:
        labels = {"point_xys": tracks, "point_visibs": visible, "point_xys_valid": valid}
        np.save(folder / "annot.npy", labels, allow_pickle=True)
    return tracks


@pytest.mark.parametrize("write", [write_cotracker, write_alltracker])
def test_an_oracle_scores_one(tmp_path, write):
    write(tmp_path / "kubric" / "valid", [rendered(11), rendered(12)])
    benchmark = open_kubric(tmp_path)
    assert len(benchmark) == 2 and benchmark.item_name(0) != benchmark.item_name(1)
    for index in range(2):
        item = benchmark.read(index)
        scores = dict(benchmark.score(item, truth_of(item)))
        assert scores.pop("tracks_left_out") == 0 and set(scores.values()) == {1.0}


def test_frames_and_points_are_those_of_256_unless_asked_otherwise(tmp_path):
    write_cotracker(tmp_path / "kubric" / "val", [rendered(11)])
    usual, native = open_kubric(tmp_path).read(0), open_kubric(tmp_path, resolution="native").read(0)
    assert usual.video.shape[-2:] == (256, 256) and native.video.shape[-2:] == (64, 96)
    frame = Image.fromarray(native.video[3].permute(1, 2, 0).numpy())
    resized = np.array(frame.resize((256, 256), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(usual.video[3].permute(1, 2, 0).numpy(), resized)
    torch.testing.assert_close(usual.tracks, rescale(native.tracks, (64, 96), (256, 256)))
    torch.testing.assert_close(usual.queries.xy, rescale(native.queries.xy, (64, 96), (256, 256)))
    assert "native input" in open_kubric(tmp_path, resolution="native").title


def test_at_most_so_many_tracks_spread_evenly_each_where_it_is_first_seen(tmp_path):
    visible = np.ones((4, 9), bool)
    visible[:2, 4] = False
    tracks = write_tiny(tmp_path, visible)
    item = open_kubric(tmp_path, max_tracks=3, resolution="native").read(0)
    np.testing.assert_allclose(item.tracks.numpy(), tracks[:, [0, 4, 8]], atol=1e-6)
    assert item.queries.frame.tolist() == [0, 2, 0]
    np.testing.assert_allclose(item.queries.xy.numpy(), tracks[[0, 2, 0], [0, 4, 8]], atol=1e-6)


def test_a_point_outside_the_frame_counts_as_hidden(tmp_path):
    tracks = np.full((3, 1, 2), 2.0)
    tracks[1] = -1.0, 2.0
    write_tiny(tmp_path, np.ones((3, 1), bool), tracks=tracks)
    item = open_kubric(tmp_path).read(0)
    assert item.visible[:, 0].tolist() == [True, False, True] and item.labelled.all()


def test_tracks_with_gaps_in_their_labels_are_left_out_and_counted(tmp_path):
    valid = np.ones((3, 4), bool)
    valid[1, 2] = False
    tracks = write_tiny(tmp_path, np.ones((3, 4), bool), valid)
    benchmark = open_kubric(tmp_path, resolution="native")
    item = benchmark.read(0)
    np.testing.assert_allclose(item.tracks.numpy(), tracks[:, [0, 1, 3]], atol=1e-6)
    assert benchmark.score(item, truth_of(item))["tracks_left_out"] == 1


def test_what_cannot_be_evaluated_is_told_in_one_sentence(tmp_path):
    valid = np.ones((3, 2), bool)
    valid[2] = False
    write_tiny(tmp_path, np.ones((3, 2), bool), valid)
    with pytest.raises(ValueError, match=r"0001/annot.npy: has no track that is labelled in every frame"):
        open_kubric(tmp_path).read(0)
    with pytest.raises(ValueError, match="expected max_tracks of 1 or more, got 0"):
        open_kubric(tmp_path, max_tracks=0)
    with pytest.raises(FileNotFoundError, match="has nothing of CoTracker-Kubric validation; expected kub"):
        open_kubric(tmp_path / "kubric")
