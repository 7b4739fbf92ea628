"""What dense flow says not to be seen in the other frame is not there, whatever is done to a clip."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_layouts import still, true_flow
from test_supervision import pair_of
from walls import Walls

from retracker.data.augment import mirror, transpose
from retracker.data.datamodule import collate
from retracker.data.datasets.synthetic import Synthetic
from retracker.data.datasets.synthetic_posed import SyntheticPosed
from retracker.data.erase import Patch, covered
from retracker.data.picture_warps import Warping, centres_of_pixels, draw_warp, flow_between
from retracker.data.sources import PairClips, Pairing
from retracker.data.supervision import supervised_clip, unmatched_clip
from retracker.data.warp import warp
from retracker.types import DenseFlow, PairSample, Queries, VideoSample

WALL = Walls("ab")


def shifted_wall(pixels):
    """A pair of 16 x 16 px whose second camera stands to the right: what it sees moves left so far."""
    pair = WALL[0]
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3] = -pixels * 2.0 / 10.0
    return replace(pair, pose_0to1=pose)


def flow_of(pair: PairSample) -> DenseFlow:
    return supervised_clip(pair, torch.tensor([[8.0, 8.0]]), dense=True).flow


def test_a_pixel_that_leaves_the_other_view_is_absent():
    flow = flow_of(shifted_wall(5))
    assert flow.absent[1, :, :5].all() and not flow.absent[1, :, 5:].any()
    # A pixel whose place is at the border itself has no four depths around it: nothing is known of it.
    assert flow.valid[1, 1:-1, 6:-1].all() and not flow.valid[1, :, :5].any()
    assert not flow.absent[0].any()


def test_a_pixel_behind_something_nearer_is_absent_and_one_in_front_of_it_unknown():
    pair = WALL[0]
    behind = flow_of(replace(pair, depth1=torch.full((16, 16), 1.5)))
    assert behind.absent[1, 1:-1, 1:-1].all() and not behind.valid[1].any()
    in_front = flow_of(replace(pair, depth1=torch.full((16, 16), 3.0)))
    assert not in_front.absent[1].any() and not in_front.valid[1].any()


def test_of_padding_nothing_is_known():
    pair = shifted_wall(5)
    flow = flow_of(replace(pair, size0=torch.tensor([12, 10])))
    assert flow.absent[1, :12, :5].all()
    for mask in (flow.valid, flow.absent):
        assert not mask[:, 12:].any() and not mask[:, :, 10:].any()


@pytest.mark.parametrize("seed", [11, 13])
def test_absent_pixels_of_a_rendered_pair_are_those_of_the_scene(seed):
    truth = still(seed)
    flow, expected = flow_of(pair_of(truth)), true_flow(truth)
    assert not (flow.absent[1] & expected.valid[0]).any()
    assert not (flow.absent & flow.valid).any()
    assert (flow.absent[1] | flow.valid[1]).float().mean() > 0.9
    assert torch.equal(expected.absent, ~expected.valid)  # all is solid there


def test_posed_pairs_say_of_almost_every_pixel_whether_it_is_there():
    flow = flow_of(SyntheticPosed(1, "hard", 64, 3)[0])
    assert (flow.absent[1] ^ flow.valid[1]).float().mean() > 0.8 and flow.absent[1].float().mean() > 0.1


def test_in_a_pair_without_a_match_all_is_absent_whose_depth_is_known():
    pair = WALL.negative(0, 1)
    depth = pair.depth0.clone()
    depth[:4] = 0  # the sky of one scene is like that of another
    flow = unmatched_clip(replace(pair, depth0=depth), torch.tensor([[8.0, 8.0]]), dense=True).flow
    assert flow.absent[1, 4:].all() and not flow.absent[1, :4].any() and not flow.valid[1].any()
    source = PairClips(WALL, Pairing(num_points=3, negative_share=1, dense=True, scene_balance=0))
    assert source.draw(np.random.default_rng(0)).flow.absent[1].all()


def standing(absent=None):
    """Two frames of 20 x 30 px in which every pixel stays where it is and is seen, but for the absent."""
    nowhere = torch.zeros(2, 20, 30, dtype=torch.bool)
    absent = nowhere if absent is None else absent
    points = torch.tensor([[10.0, 10.0]])
    known = torch.ones(2, 1, dtype=torch.bool)
    return VideoSample(
        video=torch.zeros(2, 3, 20, 30, dtype=torch.uint8),
        queries=Queries(xy=points, frame=torch.tensor([0])),
        tracks=points.expand(2, 1, 2).clone(),
        visible=known,
        labelled=known,
        located=known,
        name="standing",
        flow=DenseFlow(displacement=torch.zeros(2, 20, 30, 2), valid=~absent, absent=absent),
    )


def moved(sample, x, y=0.0):
    """The clip with another view of frame 1."""
    matrices = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    matrices[1, :2, 2] = torch.tensor([x, y])
    return warp(sample, matrices, (20, 30)).flow


def test_what_leaves_a_new_view_is_absent_from_it_even_if_nothing_was_known_of_absence():
    for sample in (standing(), replace(standing(), flow=replace(standing().flow, absent=None))):
        flow = moved(sample, 12.0)
        assert flow.valid[1, :, :18].all() and flow.absent[1, :, 18:].all()
        assert not (flow.valid & flow.absent).any() and not flow.absent[0].any()


def test_what_was_absent_stays_so_in_a_new_view():
    absent = torch.zeros(2, 20, 30, dtype=torch.bool)
    absent[1, 5:9, 3:7] = True
    flow = moved(standing(absent), 0.0, -4.0)
    assert flow.absent[1, 5:9, 3:7].all() and flow.absent[1, :4].all()
    assert flow.absent[1].sum() == 4 * 4 + 4 * 30
    # A new view of both frames: 2 px of the old ones for each new one, from their middle.
    half = torch.tensor([[0.5, 0, 5], [0, 0.5, 5], [0, 0, 1]], dtype=torch.float64).repeat(2, 1, 1)
    flow = warp(standing(absent), half, (20, 30)).flow
    assert flow.absent[1].nonzero().tolist() == [[7, 6], [7, 7], [8, 6], [8, 7]]  # beyond the frames: unknown


def test_what_is_erased_is_absent():
    patch = Patch(
        picture=torch.zeros(3, 4, 5, dtype=torch.uint8),
        corner=torch.tensor([[0, 0], [20, 10]]),
        there=torch.tensor([False, True]),
    )
    flow = covered(standing(), [patch]).flow
    assert flow.absent[1, 10:14, 20:25].all() and flow.absent.sum() == 20
    assert torch.equal(flow.valid, ~flow.absent)


@pytest.mark.parametrize("change", [mirror, transpose])
def test_absence_moves_with_the_frames(change):
    absent = torch.zeros(2, 20, 30, dtype=torch.bool)
    absent[1, 2:5, 1:8] = True
    flow = change(standing(absent)).flow
    expected = absent.flip(-1) if change is mirror else absent.transpose(-2, -1)
    assert torch.equal(flow.absent, expected) and torch.equal(flow.valid, ~expected)


def test_pixels_of_a_picture_said_to_be_out_of_view_are_nowhere_in_the_frame():
    warping = Warping(zoom=1.5, turn=40, scale=0.2, stretch=0.1, shift=0.3, tilt=0.05, bend=0.03)
    checked = 0
    for seed in range(4):
        found = draw_warp((150, 210), 2, warping, np.random.default_rng(seed))
        flow = flow_between(found, (150, 210), 32)
        assert not (flow.absent & flow.valid).any() and not flow.absent[0].any()
        source, _ = found.source(centres_of_pixels(32))  # T P 2
        pixel = source[1].unflatten(0, (32, 32)).diff(dim=1).norm(dim=-1).max()
        away = torch.cdist(source[0, flow.absent[1].flatten()], source[1])
        assert (away > 0.3 * pixel).all()  # a point within the frame is at most 0.8 px off some centre
        checked += len(away)
    assert checked > 300


def test_in_a_batch_every_flow_says_something_of_absence():
    dense = Synthetic(1, "easy", 2, 3, 32, 0, dense_flow=True)[0]
    silent = replace(dense, flow=replace(dense.flow, absent=None))
    batch = collate([dense, silent, replace(dense, flow=None)])
    assert torch.equal(batch.flow.absent[0], dense.flow.absent)
    assert not batch.flow.absent[1:].any() and not batch.flow.valid[2].any()
    assert torch.equal(batch.flow.valid[1], dense.flow.valid)
