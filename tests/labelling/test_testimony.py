"""When a teacher is believed: hand-computed ways there and back."""

from dataclasses import replace

import pytest
import torch

from retracker.labelling.testimony import Checks
from retracker.labelling.testimony import testify as ask
from tests.labelling.toys import SIDE, blank, numbered, stays, teacher

CHECKS = Checks(cycle_px=2.0, confidence=0.5, attempts=3)
QUERY = torch.tensor([[0.0, 100.0, 50.0]])


def frames_of(mask):
    return mask[:, 0].nonzero()[:, 0].tolist()


def test_what_comes_home_is_verified_everywhere_from_a_query_in_the_middle():
    def knows(video, queries):  # what moves 2 px a frame, in a film whose frames say when they are
        when = video[:, 0, 0, 0].float()
        moved = 2.0 * (when[:, None] - when[queries[:, 0].long()])
        tracks = queries[:, 1:] + torch.stack([moved, torch.zeros_like(moved)], dim=-1)
        return replace(teacher(stays)(video, queries), tracks=tracks)

    found = ask(knows, numbered(8), torch.tensor([[3.0, 100.0, 50.0]]), CHECKS)
    assert found.verified.all()
    torch.testing.assert_close(found.tracks[:, 0, 0], 100 + 2.0 * (torch.arange(8.0) - 3))


def test_a_drift_is_believed_as_far_as_there_and_back_stay_within_the_tolerance():
    """It drifts 1 px a frame, either way: from frame s it is 2 s px beside its query when it is back."""
    drift = teacher(lambda q, s: [q[1] + abs(s - q[0]), q[2]])
    assert not ask(drift, blank(9), QUERY, CHECKS).verified.any()  # tried: frames 8, 4 and 2
    four = Checks(cycle_px=2.0, confidence=0.5, attempts=4)
    found = ask(drift, blank(9), QUERY, four)  # and 1, which returns 2 px beside
    assert frames_of(found.verified) == [0, 1]


def test_a_jump_to_another_thing_costs_only_what_comes_after_it():
    """From frame 5 on it sits somewhere else, where the way back stays, too."""

    def jumps(query, s):
        return [200.0, 200.0] if query[1] == 200 or s >= 5 else query[1:]

    found = ask(teacher(jumps), blank(9), QUERY, CHECKS)
    assert frames_of(found.seen) == list(range(9))
    assert frames_of(found.verified) == [0, 1, 2, 3, 4]


def test_hidden_is_what_neither_way_sees_between_places_that_are_verified():
    def blinks(video, queries):
        found = teacher(stays)(video, queries)
        gone = torch.isin(video[:, 0, 0, 0], torch.tensor([3, 4], dtype=torch.uint8))
        return replace(found, visible=found.visible & ~gone[:, None])

    found = ask(blinks, numbered(9), QUERY, CHECKS)
    assert frames_of(found.hidden) == [3, 4]
    assert frames_of(found.verified) == [0, 1, 2, 5, 6, 7, 8]


def test_after_the_last_sight_nothing_is_known_to_be_hidden():
    found = ask(teacher(stays, seen=lambda q, s: s < 5 or q[0] > 0), blank(9), QUERY, CHECKS)
    assert frames_of(found.seen) == [0, 1, 2, 3, 4] and not found.hidden.any()


def test_a_teacher_that_is_not_sure_or_points_outside_is_not_heard():
    assert not ask(teacher(stays, confidence=0.4), blank(4), QUERY, CHECKS).verified.any()
    outside = teacher(lambda q, s: [q[1] + 60 * s, q[2]])
    assert frames_of(ask(outside, blank(4), QUERY, CHECKS).seen) == [0, 1, 2]


def test_points_are_judged_one_by_one():
    queries = torch.tensor([[0.0, 100.0, 50.0], [2.0, 20.0, 30.0], [5.0, 60.0, 30.0]])

    def one_drifts(query, s):
        return [query[1] + 9.0 * abs(s - query[0]), query[2]] if query[2] == 50 else query[1:]

    found = ask(teacher(one_drifts), blank(6), queries, CHECKS)
    assert found.verified.all(0).tolist() == [False, True, True]
    assert not found.verified[:, 0].any()


def test_the_tolerance_grows_with_the_frame():
    """Back 8 px beside the query: too much at 256 px, fine at 4 times that."""
    off = teacher(lambda q, s: [q[1] + 2.0 * abs(s - q[0]), q[2]])
    assert not ask(off, blank(3), QUERY, CHECKS).verified[2].any()
    assert ask(off, blank(3, 4 * SIDE), QUERY, CHECKS).verified.all()


@pytest.mark.parametrize("wrong", [{"cycle_px": 0.0}, {"confidence": 1.5}, {"attempts": 0}])
def test_checks_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1 attempt"):
        Checks(**({"cycle_px": 2.0, "confidence": 0.5, "attempts": 3} | wrong))
