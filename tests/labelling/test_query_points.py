"""Which points are asked for."""

import numpy as np
import torch

from retracker.labelling.query_points import choose_queries, own_motion
from tests.labelling.toys import blank, pan, texture


def test_points_lie_inside_and_are_born_in_three_frames_the_first_among_them():
    queries = choose_queries(pan(12), 60, np.random.default_rng(0))
    assert len(queries) > 50
    births = queries[:, 0].unique().tolist()
    assert len(births) == 3 and births[0] == 0 and births[-1] < 11
    assert (queries[:, 1:] >= 0).all() and (queries[:, 1:] < torch.tensor([80, 64])).all()


def test_the_same_generator_draws_the_same_points():
    first, second = (choose_queries(pan(6), 30, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, choose_queries(pan(6), 30, np.random.default_rng(4)))


def test_where_nothing_is_to_be_seen_nothing_is_asked_for():
    assert len(choose_queries(blank(4, 64), 30, np.random.default_rng(0))) == 0


def test_no_point_lies_where_there_is_no_texture():
    video = pan(6)
    video[:, :, :, :40] = 90
    x = choose_queries(video, 90, np.random.default_rng(0))[:, 1]
    assert (x > 35).all()  # the structure tensor reaches a few pixels over the border


def test_what_moves_by_itself_stands_out_from_a_camera_that_pans():
    video = pan(6, size=(96, 96), step=2)
    thing = torch.from_numpy(texture(30, 30, seed=9)).permute(2, 0, 1)
    for t in range(6):
        video[t, :, 30:60, 20 + 4 * t : 50 + 4 * t] = thing
    motion = own_motion(video, 1)
    assert motion[35:55, 30:48].mean() > 5 * motion[70:, 60:].mean()
