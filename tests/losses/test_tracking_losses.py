from dataclasses import replace
from math import log

import pytest
import torch

from retracker.losses.coarse import coarse_focal, focal, target_class
from retracker.losses.confidence import confidence_bce
from retracker.losses.dense import dense_flow, follow
from retracker.losses.occlusion import occlusion_bce
from retracker.losses.position import near_frame, refined_huber
from retracker.losses.reduction import clip_mean
from retracker.losses.tracking import TrackingLoss
from retracker.types import DenseFlow, Estimate, FramePrediction, Grid, Prediction, Queries, VideoSample

GRID = Grid(rows=32, columns=32, stride=8.0, offset=4.0)
CLASSES = 32 * 32 + 1
HUBER = {"decay": 0.5, "beta": 1.0, "occluded_weight": 0.2, "max_error": 64.0, "margin": 0.25}


def truth(clips=1, points=2):
    """Three frames of 256 x 256; points lie still at (100, 60) and are born in frame 0, all visible."""
    shape = (clips, 3, points)
    tracks = torch.tensor([100.0, 60.0]).expand(*shape, 2).clone()
    known = torch.ones(shape, dtype=torch.bool)
    return VideoSample(
        video=torch.zeros(clips, 3, 3, 256, 256, dtype=torch.uint8),
        queries=Queries(xy=tracks[:, 0].clone(), frame=torch.zeros(clips, points, dtype=torch.long)),
        tracks=tracks,
        visible=known.clone(),
        labelled=known.clone(),
        located=known.clone(),
        name=tuple(f"test/{i}" for i in range(clips)),
    )


def prediction_of(sample, offsets=(0.0, 0.0), logit=0.0, cells=None, levels=None, **extra):
    """Every estimate lies ``offsets[i]`` px to the right of the truth; all logits are alike."""
    frames = []
    for t in range(sample.tracks.shape[1]):
        xy, logits = sample.tracks[:, t], torch.full_like(sample.tracks[:, t, :, 0], logit)
        shifts = torch.tensor(offsets)
        refined = tuple(
            Estimate(
                xy=(xy + s * torch.tensor([1.0, 0.0])).requires_grad_(), certainty=logits, occlusion=logits
            )
            for s in shifts
        )
        frames.append(
            FramePrediction(
                xy=refined[-1].xy,
                visible=sample.visible[:, t],
                confidence=logits.sigmoid(),
                supervised=sample.queries.frame < t,
                cells=torch.zeros(*xy.shape[:2], CLASSES) if cells is None else cells[:, t],
                grid=GRID,
                coarse=Estimate(xy=xy, certainty=logits, occlusion=logits),
                refined=refined,
                levels=levels or tuple(range(len(offsets))),
                **extra,
            )
        )
    xy = torch.stack([frame.xy for frame in frames], 1)
    return Prediction(
        tracks=xy, visible=sample.visible, confidence=xy[..., 0].sigmoid(), frames=tuple(frames)
    )


def test_the_mean_is_per_clip_then_over_clips():
    values = torch.tensor([[1.0, 3.0, 100.0], [10.0, 7.0, 7.0]])
    counted = torch.tensor([[True, True, False], [True, False, False]])
    assert clip_mean(values, counted) == (2.0 + 10.0) / 2


def test_a_clip_in_which_nothing_counts_adds_zero_and_no_nan():
    values = torch.tensor([[2.0], [float("inf")]], requires_grad=True)
    mean = clip_mean(values, torch.tensor([[True], [False]]))
    mean.backward()
    assert mean == 1.0 and values.grad.tolist() == [[0.5], [0.0]]


def test_two_processes_average_to_what_one_process_computes():
    sample = truth(clips=2)
    sample.visible[0, 1:, 0] = False
    both = refined_huber(prediction_of(sample, (3.0, 1.0)), sample, **HUBER)
    halves = [sample.map(lambda x, i=i: x[i : i + 1]) for i in range(2)]
    apart = [refined_huber(prediction_of(half, (3.0, 1.0)), half, **HUBER) for half in halves]
    torch.testing.assert_close(both, (apart[0] + apart[1]) / 2)


def test_focal_loss_is_cross_entropy_times_a_power_of_what_is_wrong():
    logits = torch.tensor([[0.0, log(3.0)]])  # p = 1/4, 3/4
    torch.testing.assert_close(focal(logits, torch.tensor([1]), gamma=2.0)[0], torch.tensor(-log(0.75) / 16))
    torch.testing.assert_close(focal(logits, torch.tensor([0]), gamma=0.0)[0], torch.tensor(-log(0.25)))


def test_a_hidden_point_belongs_in_the_dustbin_and_a_visible_one_in_its_cell():
    xy = torch.tensor([[100.0, 60.0], [100.0, 60.0]])
    # (100 - 4) / 8 = 12, (60 - 4) / 8 = 7
    assert target_class(GRID, xy, torch.tensor([True, False])).tolist() == [7 * 32 + 12, 1024]


def test_coarse_loss_averages_visible_and_hidden_points_apart():
    sample = truth(points=4)
    sample.visible[0, :, 0] = False
    cells = torch.zeros(1, 3, 4, CLASSES)
    cells[:, :, 0, -1] = 30.0  # the hidden one is right, and surely so
    loss = coarse_focal(prediction_of(sample, cells=cells), sample, gamma=0.0, negative_weight=1.0)
    torch.testing.assert_close(loss, torch.tensor(log(CLASSES)))


def test_coarse_loss_ignores_points_that_are_not_labelled():
    sample = truth()
    sample = replace(sample, labelled=torch.zeros_like(sample.labelled))
    assert coarse_focal(prediction_of(sample), sample, gamma=2.0, negative_weight=1.0) == 0


def test_the_dustbin_is_trained_by_hidden_points():
    sample = truth()
    sample.visible[:] = False
    cells = torch.zeros(1, 3, 2, CLASSES, requires_grad=True)
    coarse_focal(prediction_of(sample, cells=cells), sample, gamma=2.0, negative_weight=1.0).backward()
    assert (cells.grad[:, 1:, :, -1] < 0).all() and (cells.grad[:, 1:, :, :-1] > 0).all()
    assert (cells.grad[:, 0] == 0).all()  # the birth frame has no loss


def test_position_loss_weighs_levels_by_their_distance_from_the_last_and_iterations_of_one_alike():
    sample = truth()
    loss = refined_huber(prediction_of(sample, (5.0, 3.5, 1.5), levels=(0, 1, 1)), sample, **HUBER)
    # smooth L1 beyond beta = 1: |e| - 0.5; weights 0.5, 1 and 1
    torch.testing.assert_close(loss, torch.tensor((0.5 * 4.5 + 3.0 + 1.0) / 2.5))


def test_position_loss_counts_hidden_points_less_and_unlocated_ones_not():
    sample = truth()
    sample.visible[:, :, 1] = False
    loss = refined_huber(prediction_of(sample, (1.5,)), sample, **HUBER)
    torch.testing.assert_close(loss, torch.tensor((1.0 + 0.2) / 2))
    sample.located[:, :, 1] = False
    torch.testing.assert_close(
        refined_huber(prediction_of(sample, (1.5,)), sample, **HUBER), torch.tensor(1.0)
    )


def test_position_loss_ignores_errors_beyond_the_threshold():
    sample = truth()
    assert refined_huber(prediction_of(sample, (70.0,)), sample, **HUBER) == 0


def test_position_loss_is_counted_at_256_scale():
    sample = truth()
    large = replace(sample, video=torch.zeros(1, 3, 3, 512, 512, dtype=torch.uint8))
    small = refined_huber(prediction_of(sample, (1.5,)), sample, **HUBER)
    torch.testing.assert_close(refined_huber(prediction_of(large, (3.0,)), large, **HUBER), small)


def test_points_far_outside_the_frame_are_ignored_points_near_it_are_not():
    sample = truth(points=3)
    sample.tracks[..., 0] = torch.tensor([-63.0, -65.0, 319.0])
    assert near_frame(sample, 0.25)[0, 0].tolist() == [True, False, True]


def test_position_loss_has_a_finite_gradient_at_the_exact_answer():
    sample = truth()
    prediction = prediction_of(sample, (0.0, 0.0))
    refined_huber(prediction, sample, **HUBER).backward()
    assert prediction.frames[1].refined[0].xy.grad.isfinite().all()


def test_occlusion_loss_of_an_undecided_net_is_log_2_and_vanishes_when_it_is_right():
    sample = truth()
    torch.testing.assert_close(occlusion_bce(prediction_of(sample), sample), torch.tensor(log(2.0)))
    assert occlusion_bce(prediction_of(sample, logit=-20.0), sample) < 1e-6
    assert occlusion_bce(prediction_of(sample, logit=20.0), sample) > 19


@pytest.mark.parametrize(
    ("offset", "visible", "right"), [(7.9, True, 20.0), (8.1, True, -20.0), (0.0, False, -20.0)]
)
def test_confidence_means_visible_and_within_8_px_at_256_scale(offset, visible, right):
    sample = truth()
    sample.visible[:] = visible
    prediction = prediction_of(sample, (offset,), logit=right)
    coarse_right = 20.0 if visible else -20.0  # the coarse estimate is exact
    frames = tuple(
        replace(frame, coarse=replace(frame.coarse, certainty=torch.full((1, 2), coarse_right)))
        for frame in prediction.frames
    )
    assert confidence_bce(replace(prediction, frames=frames), sample) < 1e-6


def test_confidence_knows_nothing_of_visible_points_without_position_but_of_hidden_ones_it_does():
    sample = replace(truth(), located=torch.zeros(1, 3, 2, dtype=torch.bool))
    assert confidence_bce(prediction_of(sample), sample) == 0
    sample.visible[:] = False
    torch.testing.assert_close(confidence_bce(prediction_of(sample), sample), torch.tensor(log(2.0)))


def moving_flow():
    """Every pixel moves 8 px to the right and 16 px down per frame; the upper half is never valid."""
    time = torch.arange(3.0)[None, :, None, None, None]
    valid = torch.ones(1, 3, 256, 256, dtype=torch.bool)
    valid[:, :, :128] = False
    return DenseFlow(displacement=(time * torch.tensor([8.0, 16.0])).expand(1, 3, 256, 256, 2), valid=valid)


def test_points_follow_the_pixel_they_lie_in():
    where, known = follow(moving_flow(), torch.tensor([[[10.5, 200.25], [10.5, 20.0], [-1.0, 200.0]]]), t=2)
    torch.testing.assert_close(where[0, 0], torch.tensor([26.5, 232.25]))
    assert known[0].tolist() == [True, False, False]


def test_dense_loss_vanishes_when_the_patch_moves_with_the_point():
    sample = replace(truth(), flow=moving_flow())
    time = torch.arange(3.0)[None, :, None, None]
    tracks = (torch.tensor([100.0, 160.0]) + time * torch.tensor([8.0, 16.0])).expand(1, 3, 2, 2).clone()
    sample = replace(sample, tracks=tracks, queries=replace(sample.queries, xy=tracks[:, 0]))
    offsets = torch.tensor([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    exact = offsets.expand(1, 2, 3, 2)
    prediction = prediction_of(sample, dense=exact, dense_offsets=offsets)
    torch.testing.assert_close(dense_flow(prediction, sample, beta=1.0), torch.tensor(0.0))
    moved = prediction_of(sample, dense=exact + torch.tensor([1.5, 0.0]), dense_offsets=offsets)
    torch.testing.assert_close(
        dense_flow(moved, sample, beta=1.0), torch.tensor(2 / 3)
    )  # two of three frames


def test_a_dense_head_has_a_gradient_of_zero_where_no_flow_is_known():
    """Not none at all: with several processes each waits for the gradients of every parameter."""
    nowhere = replace(moving_flow(), valid=torch.zeros(1, 3, 256, 256, dtype=torch.bool))
    for flow in (None, nowhere):
        dense = torch.ones(1, 2, 3, 2, requires_grad=True)
        sample = replace(truth(), flow=flow)
        prediction = prediction_of(sample, dense=dense, dense_offsets=torch.zeros(3, 2))
        dense_flow(prediction, sample, beta=1.0).backward()
        assert torch.equal(dense.grad, torch.zeros_like(dense))


def test_the_loss_is_the_weighted_sum_and_a_late_term_waits_for_its_step():
    terms = {"one": lambda *_: torch.tensor(1.0), "ten": lambda *_: torch.tensor(10.0)}
    loss = TrackingLoss(terms, weights={"one": 2.0, "ten": 0.5}, starts={"ten": 100})
    sample = truth()
    total, parts = loss(prediction_of(sample), sample, step=99)
    assert total == 2.0 and parts["ten"] == 10.0
    assert loss(prediction_of(sample), sample, step=100)[0] == 7.0


def test_a_weight_without_its_term_is_refused():
    with pytest.raises(ValueError, match="see positon"):
        TrackingLoss({}, weights={"positon": 1.0}, starts={})


def test_a_terms_weight_rises_over_its_ramp_after_its_start():
    terms = {"one": lambda *_: torch.tensor(1.0)}
    loss = TrackingLoss(terms, weights={"one": 2.0}, starts={"one": 10}, ramps={"one": 3})
    assert [loss.weight("one", step) for step in (0, 9, 10, 11, 12, 13, 14)] == [0, 0, 0.5, 1, 1.5, 2, 2]
    with pytest.raises(ValueError, match="see two"):
        TrackingLoss(terms, weights={"one": 2.0}, starts={}, ramps={"two": 3})
    with pytest.raises(ValueError, match="0 or more"):
        TrackingLoss(terms, weights={"one": 2.0}, starts={}, ramps={"one": -1})
