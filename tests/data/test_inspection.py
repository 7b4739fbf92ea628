"""What an inspection says of a data set is what is in it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from layouts import tracks_folder
from layouts.truth import rendered
from pair_layouts import megadepth, still, true_flow

from retracker.data.datasets.synthetic import Synthetic
from retracker.data.inspection import (
    PAIR_POINTS,
    Extent,
    Part,
    census_of,
    excerpt,
    inspect,
    kind_of,
    parts_of,
    spread,
)
from retracker.data.label_statistics import MOST_VALUES, statistics_of, summary_of
from retracker.data.recordings import labelled_clip

WHOLE = Extent(num_frames=3, whole=True)


@pytest.fixture(scope="module")
def truths():
    return [rendered(seed) for seed in (11, 12)]


@pytest.fixture
def clips(truths, tmp_path):
    tracks_folder.write(tmp_path, truths)
    return tracks_folder.LAYOUT.open(tmp_path)


def nothing():
    """No progress is shown."""


def read(dataset, extent, indices=(0, 1)):
    return inspect(dataset, list(indices), extent, np.random.default_rng(0), nothing)


def hand_made(tracks, visible, width=40, height=20):
    """A clip of T x N labels on a black video."""
    tracks, visible = torch.tensor(tracks).float(), torch.tensor(visible).bool()
    video = torch.zeros(len(tracks), 3, height, width, dtype=torch.uint8)
    return labelled_clip(video, tracks, visible, name="hand/made")


def test_a_census_counts_names(clips, truths):
    calls = []
    census = census_of(clips, lambda: calls.append(1))
    assert (census.items, census.scenes, census.frames) == (2, 1, sum(len(truth.video) for truth in truths))
    assert census.faults == () and len(calls) == 2


def test_clips_made_on_demand_have_neither_scenes_nor_an_end():
    clips = Synthetic(length=10**9, difficulty="easy", num_frames=2, num_points=3, size=32, seed=0)
    census = census_of(clips, nothing)
    assert (census.items, census.scenes, census.frames) == (10**9, None, None)
    assert read(clips, WHOLE, [5]).sound == (Part(index=5),)


def test_whole_recordings_are_read_frame_by_frame_to_their_end(clips):
    parts = list(parts_of(clips, 0, WHOLE, np.random.default_rng(0)))
    assert [part.frames for part in parts] == [range(0, 3), range(3, 6), range(6, 8)]
    findings = read(clips, WHOLE)
    assert [clip.num_frames for clip in findings.clips] == [3, 3, 2] * 2 and findings.seconds > 0


def test_a_part_of_a_recording_lies_inside_it_and_depends_on_the_seed_alone(clips):
    extent = Extent(num_frames=3, whole=False)
    ways = [
        [list(parts_of(clips, 0, extent, np.random.default_rng(seed)))[0].frames for seed in range(20)]
        for _ in range(2)
    ]
    assert ways[0] == ways[1] and len(set(ways[0])) > 3
    assert all(len(frames) == 3 and 0 <= frames[0] and frames[-1] < 8 for frames in ways[0])
    (part,) = parts_of(clips, 0, Extent(num_frames=99, whole=False), np.random.default_rng(0))
    assert part.frames == range(8) and len(excerpt(clips, part).video) == 8


def test_missing_and_broken_files_are_named_and_told_apart(clips, tmp_path):
    (tmp_path / "clip0" / "004.png").write_bytes(b"nonsense")
    (tmp_path / "clip1.npz").unlink()
    findings = read(clips, WHOLE)
    assert [(fault.index, fault.missing) for fault in findings.faults] == [(0, False), (1, True)]
    assert "004.png" in findings.faults[0].reason and "clip1.npz" in findings.faults[1].reason
    assert [part.frames for part in findings.sound] == [range(0, 3)]  # what came before the fault


def test_a_recording_without_frames_is_missing(clips, monkeypatch):
    monkeypatch.setattr(type(clips), "num_frames", lambda _, index: 8 * index)
    census = census_of(clips, nothing)
    assert [(fault.index, fault.missing) for fault in census.faults] == [(0, True)] and census.frames == 8
    assert "no frames" in census.faults[0].reason


def test_pairs_are_read_as_two_frames_with_points_strewn_over_the_first(tmp_path):
    layout = megadepth.LAYOUT
    layout.write(tmp_path, [still(seed) for seed in (11, 12)])
    pairs = layout.open(tmp_path, 96)
    census = census_of(pairs, nothing)
    assert (census.items, census.scenes, census.frames) == (2, 2, None) and kind_of(pairs) == "pair"
    findings = read(pairs, WHOLE)
    assert findings.faults == findings.unusable == ()
    assert [(clip.num_frames, clip.num_points) for clip in findings.clips] == [(2, PAIR_POINTS)] * 2
    overlap = [true_flow(still(seed)).valid.float().mean().item() for seed in (11, 12)]
    found = [clip.last_visible_share for clip in findings.clips]
    assert found == pytest.approx(overlap, abs=0.1)  # of so many points, and none at a depth edge
    layout.a_file(tmp_path).unlink()
    assert [(fault.index, fault.missing) for fault in read(pairs, WHOLE).faults] == [(0, True)]


def test_frames_without_a_visible_point_are_no_fault(clips, tmp_path):
    with np.load(tmp_path / "clip0.npz") as file:
        tracks, visible = file["tracks"], file["visible"]
    visible[3:6] = False
    np.savez(tmp_path / "clip0.npz", tracks=tracks, visible=visible)
    findings = read(clips, WHOLE, [0])
    assert findings.faults == () and [fault.index for fault in findings.unusable] == [0]
    assert [part.frames for part in findings.sound] == [range(0, 3), range(6, 8)]


@pytest.mark.parametrize(("count", "most"), [(7, 50), (50, 50), (1000, 50), (51, 50)])
def test_a_spread_selection_reaches_from_the_beginning_to_the_end(count, most):
    chosen = spread(count, most, np.random.default_rng(0))
    assert chosen == sorted(set(chosen)) and len(chosen) == min(count, most)
    assert chosen[0] < max(1, count / most) and count - 1 - chosen[-1] <= count / most


def test_statistics_are_those_counted_by_hand():
    # One point moves by 3, 4, 3 px and is always seen; one is hidden for two frames; the third is seen once.
    tracks = [
        [[1, 1], [5, 5], [9, 9]],
        [[4, 1], [5, 6], [9, 9]],
        [[4, 5], [5, 7], [9, 9]],
        [[7, 5], [5, 8], [9, 9]],
    ]
    visible = [[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 0]]
    clip = statistics_of(hand_made(tracks, visible))
    assert clip.motion.tolist() == [3.0, 4.0, 3.0]
    assert clip.seen.tolist() == [4, 2, 1] and clip.hidden.tolist() == [2]
    numbers = summary_of([clip])
    assert numbers["visible_share"] == pytest.approx(7 / 12)
    assert numbers["labelled_share"] == numbers["located_share"] == 1
    assert numbers["last_visible_share"]["median"] == pytest.approx(2 / 3)
    assert numbers["motion_px"]["median"] == 3 and numbers["motion_per_width"]["median"] == pytest.approx(
        3 / 40
    )
    assert numbers["hidden_runs_per_point"] == pytest.approx(1 / 3)
    assert numbers["hidden_frames"] == {"median": 2, "p95": 2}
    assert numbers["frame_sizes"] == [(20, 40)] and numbers["points"] == 3


def test_nothing_is_said_of_the_motion_of_a_single_frame():
    numbers = summary_of([statistics_of(hand_made([[[1, 1]]], [[1]]))])
    assert numbers["motion_px"] == {"median": None, "p95": None} and numbers["hidden_frames"]["p95"] is None
    assert numbers["colour_change"] == numbers["chance_colour_change"] == {"median": None, "p95": None}


def test_colours_tell_labels_of_other_frames(clips):
    clip = clips[0]
    swapped = replace(clip, tracks=clip.tracks.flip(-1))
    right, wrong = (summary_of([statistics_of(c)]) for c in (clip, swapped))
    assert right["colour_change"]["median"] < 0.2 * right["chance_colour_change"]["median"]
    assert wrong["colour_change"]["median"] > 2 * right["colour_change"]["median"]
    assert wrong["colour_change"]["p95"] > 2 * right["colour_change"]["p95"]


def test_very_many_labels_are_thinned_out():
    moving = torch.rand(2, 5000, 2) * 19
    clip = statistics_of(hand_made(moving.tolist(), [[1] * 5000] * 2))
    assert clip.num_points == 5000 and len(clip.motion) == len(clip.seen) == MOST_VALUES
