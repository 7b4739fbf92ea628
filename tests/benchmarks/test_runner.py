"""Scores of clips, their mean, and the table, against numbers worked out by hand."""

import json
import logging

import pytest
import torch

from retracker.benchmarks import report
from retracker.benchmarks.baselines import stay
from retracker.benchmarks.protocol import Tracked, score_clip
from retracker.benchmarks.runner import mean, run
from retracker.types import Queries, VideoSample


def clip(tracks, visible, *, name="toy/0", size=256):
    """A black clip of one point per column of ``tracks`` (T N 2), each queried in frame 0."""
    tracks, visible = torch.as_tensor(tracks, dtype=torch.float32), torch.as_tensor(visible)
    known = torch.ones_like(visible)
    return VideoSample(
        video=torch.zeros(len(tracks), 3, size, size, dtype=torch.uint8),
        queries=Queries(xy=tracks[0], frame=torch.zeros(tracks.shape[1], dtype=torch.long)),
        tracks=tracks,
        visible=visible,
        labelled=known,
        located=known,
        name=name,
    )


def drift(pixels_per_frame, num_frames=4, **options):
    """One visible point that moves to the right."""
    tracks = [[[10.0 + pixels_per_frame * t, 20.0]] for t in range(num_frames)]
    return clip(tracks, [[True]] * num_frames, **options)


def answer(sample, offset):
    return Tracked(
        tracks=sample.tracks + torch.tensor(offset),
        visible=sample.visible,
        confidence=sample.visible.float(),
    )


def test_staying_scores_as_worked_out_by_hand():
    # Errors 3, 6, 9 px in the three frames that count: within 4: 1/3, 8: 2/3, 16: 3/3, below that none.
    # Jaccard: hits / (3 visible + misses): 1/5, 2/4, 3/3.
    sample = drift(3.0)
    metrics = score_clip(sample, stay(sample.video, torch.tensor([[0.0, 10.0, 20.0]])))
    assert metrics["occlusion_accuracy"] == 1
    assert metrics["average_pts_within_thresh"] == pytest.approx((0 + 0 + 1 / 3 + 2 / 3 + 1) / 5)
    assert metrics["average_jaccard"] == pytest.approx((0 + 0 + 1 / 5 + 1 / 2 + 1) / 5)


def test_a_hidden_frame_that_is_called_visible_costs_accuracy_but_no_position():
    sample = clip([[[5.0, 5.0]]] * 5, [[True], [True], [False], [True], [True]])
    metrics = score_clip(sample, stay(sample.video, torch.tensor([[0.0, 5.0, 5.0]])))
    assert metrics["occlusion_accuracy"] == pytest.approx(3 / 4)
    assert metrics["average_pts_within_thresh"] == 1
    assert metrics["average_jaccard"] == pytest.approx(3 / 4)


def test_errors_count_in_a_raster_of_256_whatever_the_size_of_the_clip():
    small = drift(0.0, size=64)  # an error of 1.5 px there is one of 6 px here
    metrics = score_clip(small, answer(small, [1.5, 0.0]))
    assert (metrics["pts_within_4"], metrics["pts_within_8"]) == (0, 1)


def test_x_and_y_are_not_confused():
    wide = drift(0.0)
    wide = clip(wide.tracks, wide.visible)
    video = torch.zeros(4, 3, 128, 256, dtype=torch.uint8)
    wide = VideoSample(**{**vars(wide), "video": video})
    assert score_clip(wide, answer(wide, [3.0, 0.0]))["pts_within_4"] == 1
    assert score_clip(wide, answer(wide, [0.0, 3.0]))["pts_within_4"] == 0


def test_the_mean_is_over_clips_not_over_frames():
    still, fast = drift(0.0, num_frames=3), drift(100.0, num_frames=11, name="toy/1")
    scores = run({"stay": stay}, {"toy": [still, fast]}, "first")
    assert mean(scores).metrics["average_pts_within_thresh"] == pytest.approx(0.5)
    assert [score.frames for score in scores] == [3, 11]


def test_a_clip_with_nothing_to_measure_is_left_out_counted_and_named(caplog):
    hidden = clip([[[5.0, 5.0]]] * 3, [[True], [False], [False]], name="toy/hidden")
    with caplog.at_level(logging.WARNING):
        scores = run({"stay": stay}, {"toy": [hidden, drift(0.0)]}, "first")
    assert "toy/hidden" in caplog.text
    average = mean(scores)
    assert (average.clips, average.skipped, average.metrics["average_jaccard"]) == (1, 1, 1.0)
    with pytest.raises(ValueError, match="no mean"):
        mean(scores[:1])


def test_an_answer_that_is_not_finite_or_too_short_is_refused_by_name():
    sample = drift(0.0)
    with pytest.raises(ValueError, match="toy/0.*not finite"):
        score_clip(sample, answer(sample, [float("nan"), 0.0]))
    with pytest.raises(ValueError, match="toy/0: expected tracks"):
        score_clip(sample, answer(drift(0.0, num_frames=3), [0.0, 0.0]))


def test_unknown_positions_are_refused():
    sample = drift(0.0)
    with pytest.raises(ValueError, match="incomplete"):
        score_clip(VideoSample(**{**vars(sample), "located": ~sample.located}), answer(sample, [0.0, 0.0]))


def test_the_files_hold_what_the_table_shows(tmp_path):
    groups = {"a": [drift(0.0)], "b": [drift(3.0, name="toy/1")]}
    scores = run({"stay": stay}, groups, "first")
    rows = report.rows_of(scores)
    assert [row.group for row in rows] == ["a", "b", "all"]
    assert rows[2].values[0] == pytest.approx((rows[0].values[0] + rows[1].values[0]) / 2)
    report.write(scores, rows, "toy", tmp_path)
    content = json.loads((tmp_path / "scores.json").read_text())
    assert content["means"][0]["values"]["AJ"] == 100
    assert content["clips"][1]["metrics"]["pts_within_16"] == 1
    assert (tmp_path / "table.md").read_text().count("| stay |") == 3
    assert report.table_of(rows, "toy").row_count == 3
