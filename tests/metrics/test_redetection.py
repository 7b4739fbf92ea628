import math

import numpy as np
import pytest

from retracker.metrics.redetection import ABSENCES, absences, redetection_jaccard
from retracker.metrics.tapvid import THRESHOLDS


def mask(*tracks):
    """One string for each point, "x" where it is set; T N."""
    return np.array([[letter == "x" for letter in track] for track in tracks]).T


def test_an_absence_is_counted_where_it_ends():
    assert absences(mask("x..x.xx", "..xx..x", ".......")).T.tolist() == [
        [0, 0, 0, 2, 0, 1, 0],
        [0, 0, 2, 0, 0, 0, 2],
        [0] * 7,
    ]


def test_only_returns_from_longer_absences_than_before_count():
    # Away for 1, 1 and 2 frames: the second return does not count.
    visible = mask("x.x.x..xx")
    distance = np.zeros((9, 1))
    distance[4] = 100.0
    scores = redetection_jaccard(distance, visible, visible)
    # From frame 2: visible in 2, 4, 7, 8; right in 3; the one too far away is a miss and a false alarm.
    assert scores["redetection_1"] == pytest.approx((3 / 5 + 1) / 2, abs=1e-15)
    assert math.isnan(scores["redetection_4"])
    assert scores["average_jaccard_redetection"] == scores["redetection_1"]


def test_a_tie_is_a_hit():
    visible = mask("x.xx")
    scores = redetection_jaccard(np.full((4, 1), 4.0), visible, visible)
    assert scores["redetection_1"] == pytest.approx(3 / 5, abs=1e-15)  # at 4, 8 and 16; not at 1 and 2


def test_seeing_a_hidden_point_is_a_false_alarm_and_missing_a_visible_one_a_miss():
    visible, said = mask("x.x.x"), mask("xxxx.")
    scores = redetection_jaccard(np.zeros((5, 1)), said, visible)
    assert scores["redetection_1"] == pytest.approx(1 / 3, abs=1e-15)  # right 2; wrong 3; missed 4


def test_a_point_that_is_first_seen_later_comes_back_from_an_absence():
    visible = mask("....xx")
    scores = redetection_jaccard(np.zeros((6, 1)), visible, visible)
    assert scores["redetection_1"] == scores["redetection_4"] == 1.0


def test_without_a_return_nothing_is_measured():
    visible = mask("xxx.", "....")
    scores = redetection_jaccard(np.zeros((4, 2)), visible, visible)
    assert all(math.isnan(value) for value in scores.values())
    assert all(
        math.isnan(value)
        for value in redetection_jaccard(np.zeros((4, 0)), visible[:, :0], visible[:, :0]).values()
    )


def test_the_average_is_that_of_the_lengths_for_which_there_is_a_return():
    # One point is away for 4 frames and found again, another for 1 and lost.
    visible = mask("x....x", "x.xxxx")
    distance = np.zeros((6, 2))
    distance[2:, 1] = 50.0
    scores = redetection_jaccard(distance, visible, visible)
    assert (scores["redetection_1"], scores["redetection_4"]) == (0.5, 1.0)
    assert scores["average_jaccard_redetection"] == 0.75


def returns(visible):
    """(frame, point, frames away) of each return that counts, one after the other."""
    for n in range(visible.shape[1]):
        longest, away = 0, 0
        for t in range(len(visible)):
            if visible[t, n] and away > longest:
                yield t, n, away
                longest = away
            away = 0 if visible[t, n] else away + 1


def jaccard(near, said, visible):
    """Of one track, frame by frame."""
    right = wanted = 0
    for found, claimed, there in zip(near, said, visible, strict=True):
        right += there and claimed and found
        wanted += int(there) + int(claimed and not (there and found))
    return right / wanted


def as_written(distance, said, visible):
    """The definition, return by return: for each length of absence, and the average."""
    events, values = list(returns(visible)), []
    for least in ABSENCES:
        chosen = [(slice(t, None), n) for t, n, away in events if away >= least]
        of_thresholds = [
            np.mean([jaccard(distance[part] <= t, said[part], visible[part]) for part in chosen])
            for t in THRESHOLDS
            if chosen
        ]
        values.append(np.mean(of_thresholds) if chosen else np.nan)
    return values, np.nanmean(values) if events else np.nan


@pytest.mark.parametrize("seed", range(20))
def test_random_tracks_score_as_the_definition_says(seed):
    rng = np.random.default_rng(seed)
    num_frames, num_points = int(rng.integers(2, 90)), int(rng.integers(1, 8))
    # Visibility that changes seldom, so that absences are long.
    flips = rng.random((num_frames, num_points)) < rng.choice([0.02, 0.1, 0.5])
    visible = (np.cumsum(flips, axis=0) + rng.integers(0, 2, num_points)) % 2 == 0
    said = visible ^ (rng.random(visible.shape) < 0.2)
    distance = rng.integers(0, 40, visible.shape) / 2.0  # many ties
    scores = redetection_jaccard(distance, said, visible)
    values, average = as_written(distance, said, visible)
    np.testing.assert_allclose([scores[f"redetection_{d}"] for d in ABSENCES], values, rtol=0, atol=1e-12)
    np.testing.assert_allclose(scores["average_jaccard_redetection"], average, rtol=0, atol=1e-12)
