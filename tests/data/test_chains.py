"""Tracks chained from exact flow against the exact tracks of the same points."""

import numpy as np
import pytest
import torch
from layouts.flyingthings import exact_flow, positions_of
from layouts.truth import rendered

from retracker.data.chains import Steps, around, chain, grid

# px: flow is known at pixel centres and taken as bilinear between them, which it is not on a bent surface
# (and the smaller the picture, the more it bends from one pixel to the next).
PER_STEP = 0.05  # for all but two points in a hundred,
WORST = 0.15  # and for those two
SIZE = (64, 96)


def steps_of(truth):
    pairs = [(t, t + 1) for t in range(len(truth.video) - 1)]
    return Steps(
        forward=np.stack([exact_flow(truth, now, then) for now, then in pairs]),
        backward=np.stack([exact_flow(truth, then, now) for now, then in pairs]),
        surface=truth.segment.numpy().astype(np.int32),
    )


def shifting(num_frames=4, by=(2.0, 0.0)):
    """A picture that moves as one."""
    flow = np.tile(np.float32(by), (num_frames - 1, *SIZE, 1))
    return Steps(forward=flow, backward=-flow, surface=np.zeros((num_frames, *SIZE), np.int32))


def at(x, y):
    return np.array([[x, y]], np.float32)


@pytest.mark.parametrize("difficulty", ["medium", "hard"])
@pytest.mark.parametrize("start", [0, 3, 5])
def test_chains_follow_the_truth_to_both_ends(difficulty, start):
    truth = rendered(12, difficulty=difficulty, num_frames=6)
    xy = grid(SIZE, 3)
    found = chain(steps_of(truth), xy, np.full(len(xy), start))
    wrong = 0
    for t in range(len(truth.video)):
        exact, seen = (part.numpy() for part in positions_of(truth, start, torch.from_numpy(xy), t))
        error = np.linalg.norm(found.tracks[t] - exact, axis=-1)[found.located[t]]
        steps = max(abs(t - start), 0.1)  # none: rounding
        assert np.quantile(error, 0.98) <= PER_STEP * steps and error.max() <= WORST * steps
        wrong += (found.labelled[t] & (found.visible[t] != seen)).sum()
    # At the rims of surfaces four pixels tell less than a ray does.
    assert wrong <= 1e-3 * found.labelled.sum() and found.visible.mean() > 0.4
    assert (found.labelled & ~found.visible).any()


@pytest.mark.parametrize("difficulty", ["medium", "hard"])
def test_only_what_is_visible_goes_on(difficulty):
    truth = rendered(12, difficulty=difficulty, num_frames=6)
    xy = grid(SIZE, 4)
    found = chain(steps_of(truth), xy, np.full(len(xy), 3))
    assert (found.labelled | ~found.visible).all() and (found.located | ~found.labelled).all()
    assert found.visible[3].all() and np.array_equal(found.tracks[3], xy)
    for t in range(4, 6):
        assert not (found.located[t] & ~found.visible[t - 1]).any()
    for t in range(3):
        assert not (found.located[t] & ~found.visible[t + 1]).any()


def test_a_point_that_leaves_the_frame_is_hidden_once_and_then_unknown():
    steps = shifting()
    steps.surface[2, 9, 95] = 7  # what else is seen at the border is no matter
    found = chain(steps, at(92.25, 10.25), np.array([0]))
    assert found.tracks[:, 0].tolist() == [[92.25, 10.25], [94.25, 10.25], [96.25, 10.25], [0, 0]]
    assert found.visible[:, 0].tolist() == [True, True, False, False]
    assert found.labelled[:, 0].tolist() == found.located[:, 0].tolist() == [True, True, True, False]


def test_a_point_is_known_before_its_own_frame_too():
    found = chain(shifting(), np.concatenate([at(50, 10), at(50, 20)]), np.array([3, 1]))
    assert found.tracks[:, 0, 0].tolist() == [44, 46, 48, 50]
    assert found.tracks[:, 1, 0].tolist() == [48, 50, 52, 54]
    assert found.visible.all()


def test_what_another_surface_covers_is_hidden_where_it_went():
    steps = shifting()
    steps.surface[1, :, 50:] = 7
    steps.backward[0, :, 50:] = 0  # what covers it stands still
    found = chain(steps, at(60, 30), np.array([0]))
    assert found.tracks[1, 0].tolist() == [62, 30] and found.located[:, 0].tolist() == [
        True,
        True,
        False,
        False,
    ]
    assert found.labelled[1, 0] and not found.visible[1, 0]


def test_what_its_own_object_covers_is_found_out_by_the_way_back():
    steps = shifting()
    steps.backward[0, :, 50:] = 5
    found = chain(steps, at(60, 30), np.array([0]))
    assert found.labelled[1, 0] and not found.visible[1, 0] and found.located[1, 0]


@pytest.mark.parametrize("gap", [0.6, 0.9])
def test_a_way_back_that_is_neither_near_nor_far_tells_nothing_of_visibility(gap):
    steps = shifting()
    steps.backward[0] += np.float32([gap, 0])
    found = chain(steps, at(60, 30), np.array([0]))
    assert found.located[1, 0] and not found.labelled[1, 0] and not found.visible[1:, 0].any()


def test_at_the_rim_of_what_covers_it_a_point_is_told_neither_visible_nor_hidden():
    steps = shifting()
    steps.surface[1, :, 62:] = 7
    found = chain(steps, at(60, 30), np.array([0]))
    assert found.located[1, 0] and not found.labelled[1, 0] and not found.visible[1:, 0].any()


def test_between_two_surfaces_flow_tells_nothing():
    steps = shifting()
    steps.surface[:, :, 48:] = 1
    steps.forward[:, :, 48:] -= 0.5
    found = chain(steps, np.concatenate([at(48.2, 30), at(47.5, 30)]), np.array([0, 0]))
    assert not found.located[1:, 0].any()
    assert found.located[1, 1]  # at a centre only that pixel counts


@pytest.mark.parametrize("flaw", [np.nan, np.inf, 5000.0, -np.inf])
def test_flow_that_is_no_motion_ends_a_chain(flaw):
    steps = shifting()
    steps.forward[1, 30, 62, 0] = flaw
    steps.backward[1, 30, 33, 1] = flaw
    found = chain(steps, np.concatenate([at(60.25, 30.25), at(29.5, 30.5)]), np.array([0, 0]))
    assert found.located[:, 0].tolist() == [True, True, False, False]
    assert np.isfinite(found.tracks).all() and not found.visible[2, 1]


def test_bilinear_weights_hold_everywhere():
    rng = np.random.default_rng(0)
    xy = (rng.random((500, 2)) * SIZE[::-1]).astype(np.float32)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32) + 0.5
    found = around(xy, SIZE)
    value = found.blend(np.stack([columns, rows], axis=-1))[0]  # of each pixel: where it is
    inner = ((xy > 0.5) & (xy < np.array(SIZE[::-1]) - 0.5)).all(-1)
    assert np.allclose(value[inner], xy[inner], atol=1e-4) and np.allclose(found.weight.sum(0), 1)
    assert np.allclose(value, np.clip(xy, 0.5, np.array(SIZE[::-1]) - 0.5), atol=1e-4)


def test_a_grid_is_made_of_pixel_centres():
    assert grid((4, 6), 3).tolist() == [[1.5, 1.5], [4.5, 1.5]]
    assert grid((2, 2), 1).tolist() == [[0.5, 0.5], [1.5, 0.5], [0.5, 1.5], [1.5, 1.5]]
