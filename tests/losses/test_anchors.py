"""Anchors: a cell for those that are seen, the dustbin for those known to be absent, nothing for the rest."""

from math import log

import pytest
import torch

from retracker.geometry.coords import cell_index
from retracker.losses.anchors import anchor_classes, anchor_focal, anchor_grid, largest
from retracker.losses.coarse import coarse_focal
from retracker.types import (
    DenseFlow,
    Estimate,
    FramePrediction,
    Grid,
    Prediction,
    Queries,
    VideoSample,
)

GRID = Grid(rows=4, columns=4, stride=8.0, offset=4.0)
CLASSES = 17
ALL = {"gamma": 0.0, "negative_weight": 1.0, "hardest": 1.0}


def pair(clips=1, points=1):
    """Two frames of 32 x 32 px, 16 cells: everything moves 8 px to the right; labels are all unknown."""
    displacement = torch.zeros(clips, 2, 32, 32, 2)
    displacement[:, 1, ..., 0] = 8.0
    nothing = torch.zeros(clips, 2, 32, 32, dtype=torch.bool)
    tracks = torch.full((clips, 2, points, 2), 4.0)
    return VideoSample(
        video=torch.zeros(clips, 2, 3, 32, 32, dtype=torch.uint8),
        queries=Queries(xy=tracks[:, 0], frame=torch.zeros(clips, points, dtype=torch.long)),
        tracks=tracks,
        visible=torch.ones(clips, 2, points, dtype=torch.bool),
        labelled=torch.ones(clips, 2, points, dtype=torch.bool),
        located=torch.ones(clips, 2, points, dtype=torch.bool),
        name=tuple(map(str, range(clips))),
        flow=DenseFlow(displacement=displacement, valid=nothing.clone(), absent=nothing.clone()),
    )


def predicted(sample, anchors=None, cells=None):
    """Two frames of which only the classes of anchors, or those of the queries, mean anything."""
    clips, points = sample.tracks.shape[0], sample.tracks.shape[2]
    anything = torch.zeros(clips, points)
    estimate = Estimate(xy=sample.tracks[:, 1], certainty=anything, occlusion=anything)
    frames = [
        FramePrediction(
            xy=sample.tracks[:, t],
            visible=anything > 0,
            confidence=anything,
            supervised=sample.queries.frame < t,
            cells=torch.zeros(clips, points, CLASSES) if cells is None else cells,
            grid=GRID,
            coarse=estimate,
            refined=(estimate,),
            levels=(0,),
            anchor_cells=anchors,
        )
        for t in range(2)
    ]
    return Prediction(
        tracks=sample.tracks, visible=sample.visible, confidence=sample.tracks[..., 0], frames=tuple(frames)
    )


def test_anchors_lie_in_the_middle_of_equal_squares():
    anchors = anchor_grid(pair(), 4)
    assert anchors[0].tolist() == [[8.0, 8.0], [24.0, 8.0], [8.0, 24.0], [24.0, 24.0]]
    with pytest.raises(ValueError, match="square"):
        anchor_grid(pair(), 10)


def test_an_anchor_that_is_seen_belongs_in_the_cell_its_pixel_went_to():
    sample = pair()
    sample.flow.valid[0, 1, :16] = True  # the upper two of four anchors; the right one leaves the frame
    anchors = torch.zeros(1, 4, CLASSES)
    target, seen, absent = anchor_classes(predicted(sample, anchors).frames[1], sample, 1)
    assert seen[0].tolist() == [True, False, False, False] and not absent.any()
    assert target[0, 0] == cell_index(GRID, torch.tensor([[[16.0, 8.0]]]))[0]
    torch.testing.assert_close(anchor_focal(predicted(sample, anchors), sample, **ALL), torch.tensor(log(17)))


def test_an_anchor_known_to_be_absent_belongs_in_the_dustbin():
    sample = pair()
    sample.flow.absent[0, 1, :, 16:] = True
    anchors = torch.zeros(1, 4, CLASSES, requires_grad=True)
    anchor_focal(predicted(sample, anchors), sample, **ALL).backward()
    gradient = anchors.grad[0]
    assert (gradient[[1, 3], -1] < 0).all() and (gradient[[1, 3], :-1] > 0).all()
    assert not gradient[[0, 2]].any()  # nothing is known of these


def test_nothing_is_learned_of_anchors_without_knowledge():
    sample = pair()
    assert anchor_focal(predicted(sample, torch.zeros(1, 4, CLASSES)), sample, **ALL) == 0
    assert anchor_focal(predicted(sample), sample, **ALL) == 0  # no anchors at all


def test_seen_and_absent_anchors_are_averaged_apart():
    sample = pair()
    sample.flow.valid[0, 1, :, :16] = True  # two of four
    sample.flow.absent[0, 1, :16, 16:] = True  # one
    anchors = torch.zeros(1, 4, CLASSES)
    anchors[0, 1, -1] = log(16.0)  # the absent one: half of the probability is the dustbin's
    loss = anchor_focal(predicted(sample, anchors), sample, gamma=0.0, negative_weight=0.25, hardest=1.0)
    torch.testing.assert_close(loss, torch.tensor(log(17) + 0.25 * log(2)))


def test_no_more_absent_anchors_count_than_seen_ones_and_the_hardest_do():
    sample = pair()
    sample.flow.valid[0, 1, :16, :16] = True  # one seen, three absent
    sample.flow.absent[0, 1] = ~sample.flow.valid[0, 1]
    anchors = torch.zeros(1, 4, CLASSES)
    anchors[0, 2, -1] = -log(3.0)  # the hardest: a probability of (1/3) / (16 + 1/3) = 1/49
    loss = anchor_focal(predicted(sample, anchors), sample, **ALL)
    torch.testing.assert_close(loss, torch.tensor(log(17) + log(49)))


def test_in_a_pair_without_a_match_every_absent_anchor_counts():
    sample = pair(clips=2)
    sample.flow.absent[:, 1] = True
    anchors = torch.zeros(2, 4, CLASSES)
    anchors[1, :2, -1] = 100.0  # surely right
    loss = anchor_focal(predicted(sample, anchors), sample, **ALL)
    torch.testing.assert_close(loss, torch.tensor((log(17) + log(17) / 2) / 2))  # of each clip, then of both


def test_of_a_share_the_hardest_count():
    sample = pair()
    sample.flow.valid[0, 1, :, :16] = True
    anchors = torch.zeros(1, 4, CLASSES)
    target = anchor_classes(predicted(sample, anchors).frames[1], sample, 1)[0]
    anchors[0, 0, target[0, 0]] = 100.0  # found already
    half = anchor_focal(predicted(sample, anchors), sample, gamma=0.0, negative_weight=1.0, hardest=0.5)
    torch.testing.assert_close(half, torch.tensor(log(17)))
    whole = anchor_focal(predicted(sample, anchors), sample, **ALL)
    torch.testing.assert_close(whole, torch.tensor(log(17) / 2))


def test_the_largest_of_some_are_chosen_clip_by_clip():
    values = torch.tensor([[5.0, 1.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    among = torch.tensor([[False, True, True, True], [True, True, False, False]])
    chosen = largest(values, among, torch.tensor([2, 3]))
    assert chosen.tolist() == [[False, False, True, True], [True, True, False, False]]


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="hardest is a share above 0 and up to 1"):
        anchor_focal(predicted(pair()), pair(), gamma=2.0, negative_weight=1.0, hardest=share)


def test_several_queries_of_one_cell_are_each_trained():
    sample = pair(points=3)  # all three go to the cell of (4, 4)
    cells = torch.zeros(1, 3, CLASSES, requires_grad=True)
    coarse_focal(predicted(sample, cells=cells), sample, gamma=0.0, negative_weight=1.0).backward()
    alone = torch.zeros(1, 1, CLASSES, requires_grad=True)
    single = pair()
    coarse_focal(predicted(single, cells=alone), single, gamma=0.0, negative_weight=1.0).backward()
    torch.testing.assert_close(cells.grad, alone.grad.expand(1, 3, -1) / 3)
    assert (cells.grad[..., 0] < 0).all()
