from dataclasses import replace

import numpy as np
import pytest
import torch

from retracker.data.points import ChoosePoints, asked_where_seen, hides, learnable, moves
from retracker.data.recordings import Unusable
from retracker.types import Queries, VideoSample


def clip(visible, tracks=None, labelled=None, located=None):
    """A clip of T frames, 100 x 100, from the visibility of N points."""
    visible = torch.as_tensor(visible).bool()
    everywhere = torch.ones_like(visible)
    tracks = torch.rand(*visible.shape, 2) * 100 if tracks is None else torch.as_tensor(tracks).float()
    return VideoSample(
        video=torch.zeros(len(visible), 3, 100, 100, dtype=torch.uint8),
        queries=Queries(xy=tracks[0], frame=torch.zeros(visible.shape[1], dtype=torch.long)),
        tracks=tracks,
        visible=visible,
        labelled=everywhere if labelled is None else torch.as_tensor(labelled).bool(),
        located=everywhere if located is None else torch.as_tensor(located).bool(),
        name="points/0",
    )


def random_clip(num_frames=12, num_points=500, share=0.6, seed=0):
    torch.manual_seed(seed)
    return clip(torch.rand(num_frames, num_points) < share)


def chosen(sample, seed=0, **changes):
    settings = {
        "num_points": 64,
        "num_pair_points": 64,
        "first_frame": 0.5,
        "last_birth": 0.5,
        "moving": 0.0,
        "hidden": 0.0,
    }
    return ChoosePoints(**settings | changes)(sample, np.random.default_rng(seed))


def test_as_many_points_as_asked_for_each_seen_at_its_query_and_with_labels_after():
    sample = random_clip()
    for seed in range(10):
        few = chosen(sample, seed)
        points = torch.arange(64)
        assert few.tracks.shape == (12, 64, 2)
        assert few.visible[few.queries.frame, points].all()
        assert torch.equal(few.tracks[few.queries.frame, points], few.queries.xy)
        assert few.queries.frame.max() < 11


def test_all_points_stay_where_there_are_fewer_and_none_is_chosen_twice():
    sample = random_clip(num_points=20)
    few = chosen(sample)
    assert torch.equal(few.tracks, sample.tracks)


def test_a_pair_keeps_a_number_of_points_of_its_own():
    for num_frames, expected in ((2, 7), (3, 5)):
        sample = clip(torch.ones(num_frames, 20).bool())
        assert chosen(sample, num_points=5, num_pair_points=7).tracks.shape[1] == expected


def test_points_without_a_lesson_are_left_out():
    visible = [[1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 0, 0]]  # of all frames, of the last, of none, of the first
    sample = clip(visible)
    assert chosen(sample).tracks.shape[1] == 2
    known = torch.ones(3, 4).bool()
    known[1:, 3] = False  # nothing is known of the last one once it has been seen
    assert chosen(replace(sample, labelled=known, located=known)).tracks.shape[1] == 1
    assert learnable(sample).tolist() == [[1, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_a_clip_without_a_usable_point_is_named():
    with pytest.raises(Unusable, match="points/0"):
        chosen(clip([[0, 0], [0, 0], [1, 0]]))


def test_births_follow_the_chances_given():
    sample = random_clip(num_points=4000)
    at_once = chosen(sample, num_points=4000, first_frame=1.0).queries.frame
    possible = sample.visible[0].float().mean()
    assert abs((at_once == 0).float().mean() - possible) < 0.01
    spread = chosen(sample, num_points=4000, first_frame=0.0, last_birth=0.5).queries.frame
    early = torch.bincount(spread[spread <= 5], minlength=6) / 4000
    assert (early - 1 / 6).abs().max() < 0.03  # evenly over the first half: frames 0 to 5 of 0 to 11
    assert (spread <= 5).float().mean() > 0.97  # the others are not seen there
    first = chosen(sample, num_points=4000, first_frame=0.0, last_birth=0.0).queries.frame
    assert torch.equal(first, sample.visible.int().argmax(0))


def test_moving_and_hidden_points_can_be_favoured():
    num = 4000
    tracks = torch.full((6, num, 2), 50.0)
    tracks[:, : num // 4, 0] += torch.arange(6)[:, None] * 5.0
    visible = torch.ones(6, num).bool()
    visible[3, : num // 2] = False
    sample = clip(visible, tracks)
    assert torch.equal(moves(sample), torch.arange(num) < num // 4)
    assert torch.equal(hides(sample), torch.arange(num) < num // 2)
    share = [
        chosen(sample, num_points=200, seed=s, moving=2.0).tracks[1, :, 0].gt(50).float() for s in range(20)
    ]
    assert abs(torch.cat(share).mean() - 3 / 6) < 0.04  # weight 3 for a quarter, 1 for the others
    share = [(~chosen(sample, num_points=200, seed=s, hidden=3.0).visible[3]).float() for s in range(20)]
    assert abs(torch.cat(share).mean() - 4 / 5) < 0.04


def test_a_point_hidden_before_it_is_seen_is_not_one_that_gets_hidden():
    assert hides(clip([[0, 1], [1, 0], [1, 1]])).tolist() == [False, True]


def test_a_point_is_asked_for_where_it_is_first_seen_only_if_it_must_be():
    visible = [[0, 1, 0], [1, 1, 0], [1, 0, 0]]
    sample = clip(visible)
    asked = asked_where_seen(sample)
    assert asked.queries.frame.tolist() == [1, 0, 0]
    assert torch.equal(asked.queries.xy[0], sample.tracks[1, 0])
    assert asked.labelled.all(0).tolist() == asked.located.all(0).tolist() == [True, True, False]
    late = replace(sample, queries=Queries(xy=sample.tracks[1], frame=torch.ones(3, dtype=torch.long)))
    assert asked_where_seen(late).queries.frame.tolist() == [1, 1, 1]
