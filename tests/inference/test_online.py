"""A stream gives what a clip gives, points do not see each other, and memory does not grow."""

import numpy as np
import pytest
import torch

from retracker.inference.clip import track
from retracker.inference.frames import SMALLEST, resize, tracking_size, working_size
from retracker.inference.online import OnlineTracker
from retracker.types import Queries


def run(tracker, video):
    return [tracker.step(frame) for frame in video]


def test_the_stream_equals_the_nets_own_pass_over_the_clip(model, sample):
    tracker = OnlineTracker(model, subpixel=False)
    order = []
    frames = []
    for t, frame in enumerate(sample.video):
        born = (sample.queries.frame == t).nonzero()[:, 0]
        order += born.tolist()
        tracker.add_queries(sample.queries.xy[born])
        frames.append(tracker.step(frame))
    queries = Queries(xy=sample.queries.xy[None, order], frame=sample.queries.frame[None, order])
    with torch.no_grad():
        whole = model(sample.video[None], queries)
    # Groups of another size round otherwise, and a net of random weights magnifies that in each frame.
    for t, found in enumerate(frames):
        alive = len(found.ids)
        torch.testing.assert_close(found.tracks, whole.tracks[0, t, :alive], atol=1e-2, rtol=0)
        torch.testing.assert_close(found.confidence, whole.confidence[0, t, :alive], atol=1e-4, rtol=0)


def test_a_point_alone_is_to_the_bit_the_point_among_others(model, sample):
    alone, among = OnlineTracker(model), OnlineTracker(model)
    xy = torch.tensor([[20.0, 30.0]])
    alone.add_queries(xy)
    company = 64 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    among.add_queries(torch.cat([company[:150], xy, company[150:]]))
    for one, many in zip(run(alone, sample.video), run(among, sample.video), strict=True):
        assert torch.equal(one.tracks[0], many.tracks[150])
        assert torch.equal(one.confidence[0], many.confidence[150])


def test_points_that_come_and_go_leave_the_others_as_they_are(model, sample):
    calm, busy = OnlineTracker(model), OnlineTracker(model)
    xy = torch.tensor([[20.0, 30.0], [44.0, 12.0]])
    calm.add_queries(xy)
    ids = busy.add_queries(torch.cat([torch.full((3, 2), 5.0), xy]))
    before = run(calm, sample.video)
    after = [busy.step(sample.video[0])]
    busy.remove_queries(ids[:3])
    late = busy.add_queries([[9.0, 9.0]])
    after += [busy.step(frame) for frame in sample.video[1:3]]
    busy.remove_queries(late)
    after += [busy.step(frame) for frame in sample.video[3:]]
    for expected, found in zip(before, after, strict=True):
        mine = torch.isin(found.ids, ids[3:])
        assert torch.equal(found.tracks[mine], expected.tracks)
        assert torch.equal(found.visible[mine], expected.visible)


def test_a_slot_that_is_used_again_remembers_nothing(model, sample):
    tracker, fresh = OnlineTracker(model), OnlineTracker(model)
    first = tracker.add_queries([[10.0, 10.0], [50.0, 40.0]])
    run(tracker, sample.video[:3])
    tracker.remove_queries(first[:1])
    tracker.add_queries([[30.0, 20.0]])
    fresh.add_queries([[30.0, 20.0]])
    for old, new in zip(run(tracker, sample.video[3:]), run(fresh, sample.video[3:]), strict=True):
        assert torch.equal(old.tracks[-1], new.tracks[0])
        assert torch.equal(old.confidence[-1], new.confidence[0])


def test_ids_are_stable_unique_and_in_order(model, sample):
    tracker = OnlineTracker(model)
    first = tracker.add_queries(torch.full((3, 2), 8.0))
    assert first.tolist() == [0, 1, 2]
    assert tracker.step(sample.video[0]).ids.tolist() == [0, 1, 2]
    tracker.remove_queries([1])
    assert tracker.add_queries(np.full((2, 2), 9.0)).tolist() == [3, 4]
    tracker.remove_queries([3])  # not even born
    assert tracker.step(sample.video[1]).ids.tolist() == [0, 2, 4]
    tracker.reset()
    assert tracker.step(sample.video[2]).ids.tolist() == []
    assert tracker.add_queries([[1.0, 1.0]]).tolist() == [0]


def test_a_new_point_is_exactly_its_query_whatever_the_frames_size(model, wide):
    frames, _ = wide
    tracker = OnlineTracker(model)
    xy = torch.tensor([[0.1, 0.3], [119.7, 71.9], [120.0, 72.0], [33.333, 12.345]])
    tracker.add_queries(xy)
    found = tracker.step(frames[0])
    assert torch.equal(found.tracks, xy)
    assert found.visible.all() and (found.confidence == 1).all()


@pytest.mark.parametrize("width", [40, 96, 250])
def test_resizing_scales_raster_positions_by_the_pure_ratio(width):
    """On a ramp a pixel's value says where its centre was; the border apart, where the filter is cut off."""
    ramp = (torch.arange(120) * 2 + 1).to(torch.uint8).expand(3, 30, 120)  # twice the raster x of each centre
    small = resize(ramp, (20, width))
    expected = 2 * (torch.arange(width) + 0.5) * 120 / width
    inner = slice(width // 20, -width // 20)
    torch.testing.assert_close(small[0, 10, inner].float(), expected[inner], atol=0.51, rtol=0)


def test_the_working_size_keeps_aspect_and_number_of_pixels():
    assert working_size(256, 256, 256) == (256, 256)
    height, width = working_size(1080, 1920, 256)
    assert abs(height * width / 256**2 - 1) < 0.01 and abs(width / height - 16 / 9) < 0.02


def test_small_films_are_enlarged_no_more_than_the_net_wants(model):
    model.image_size, model.most_enlarged = 256, None
    assert tracking_size(model, (100, 100), None) == (256, 256)
    model.most_enlarged = 1.25
    assert tracking_size(model, (180, 180), None) == (225, 225)
    assert tracking_size(model, (40, 160), None) == (SMALLEST // 2, 2 * SMALLEST)
    assert tracking_size(model, (480, 640), None) == working_size(480, 640, 256)
    assert tracking_size(model, (100, 100), 256) == (256, 256)  # who says so gets it
    model.image_size = 64
    assert tracking_size(model, (40, 40), None) == (64, 64)
    with pytest.raises(ValueError, match="image_size: expected a number of px above 0, got -5"):
        tracking_size(model, (40, 40), -5)


def test_streams_and_clips_are_worked_on_at_that_size(model, sample):
    model.image_size, model.most_enlarged = 256, 1.25
    for asked, size in ((None, SMALLEST), (96, 96)):
        sizes = set()
        hook = model.backbone.register_forward_pre_hook(
            lambda _, given, sizes=sizes: sizes.add(tuple(given[0].shape[-2:]))
        )
        track(model, sample.video[:2], [[0.0, 20.0, 30.0]], image_size=asked)
        online = OnlineTracker(model, asked)
        online.add_queries([[20.0, 30.0]])
        online.step(sample.video[0])
        hook.remove()
        assert sizes == {(size, size)}


def test_channels_last_frames_give_the_same(model, sample):
    first, last = OnlineTracker(model), OnlineTracker(model)
    for tracker in (first, last):
        tracker.add_queries([[20.0, 30.0]])
    a = run(first, sample.video[:2])[1]
    b = run(last, sample.video[:2].permute(0, 2, 3, 1).numpy())[1]
    assert torch.equal(a.tracks, b.tracks)


def test_the_state_does_not_grow_with_time(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries(torch.full((5, 2), 20.0))
    sizes = set()
    for t in range(24):
        tracker.step(sample.video[t % 6])
        sizes.add(tracker.state_bytes())
    assert len(sizes) == 1 and sizes != {0}


def test_every_frame_is_encoded_once_and_none_for_nobody(model, sample, monkeypatch):
    encode, calls = model.encode, []
    monkeypatch.setattr(model, "encode", lambda images: (calls.append(len(images)), encode(images))[1])
    tracker = OnlineTracker(model, group_size=4)
    tracker.step(sample.video[0])
    assert calls == []
    tracker.add_queries(torch.full((9, 2), 20.0))  # three groups
    run(tracker, sample.video[:3])
    assert calls == [1, 1, 1]


def test_what_comes_out_may_be_written_into(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries([[20.0, 30.0]])
    found = run(tracker, sample.video[:2])[1]
    found.tracks.mul_(2)
    assert not found.tracks.is_inference()


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1.0, 2.0], [float("nan"), 3.0]], r"query 1 at \(nan, 3\): expected finite"),
        ([[1.0, 2.0], [65.0, 3.0]], r"query 1 at \(65, 3\) lies outside the frame of 64 x 64 px"),
        ([[1.0, -0.5]], "query 0"),
        ([1.0, 2.0], r"expected points of shape \(N, 2\), got \(2,\)"),
    ],
)
def test_a_bad_query_is_named(model, sample, points, message):
    tracker = OnlineTracker(model)
    tracker.step(sample.video[0])
    with pytest.raises(ValueError, match=message):
        tracker.add_queries(points)


def test_a_query_outside_the_first_frame_is_named_once_its_size_is_known(model, sample):
    tracker = OnlineTracker(model)
    ids = tracker.add_queries([[3.0, 3.0], [100.0, 3.0]])
    with pytest.raises(ValueError, match=r"query 1 at \(100, 3\) lies outside .*; remove_queries"):
        tracker.step(sample.video[0])
    tracker.remove_queries(ids[1:])
    assert tracker.step(sample.video[0]).ids.tolist() == [0]


def test_frames_of_another_size_or_kind_are_refused(model, sample):
    tracker = OnlineTracker(model)
    tracker.step(sample.video[0])
    with pytest.raises(ValueError, match=r"expected a frame of 64 x 64 px like the first, got 32 x 64 px"):
        tracker.step(sample.video[0, :, :, :32])
    with pytest.raises(ValueError, match="uint8"):
        tracker.step(sample.video[0].float())


def test_removing_a_stranger_is_refused_and_changes_nothing(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries([[3.0, 3.0]])
    with pytest.raises(ValueError, match="point 7 is not being followed"):
        tracker.remove_queries([0, 7])
    assert tracker.step(sample.video[0]).ids.tolist() == [0]


def test_an_id_may_be_removed_twice_in_one_call(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries([[3.0, 3.0], [5.0, 5.0]])
    tracker.step(sample.video[0])
    tracker.remove_queries([0, 0])
    assert tracker.step(sample.video[1]).ids.tolist() == [1]


def test_the_stream_and_the_clip_function_agree_to_the_bit(model, wide, sample, queries):
    frames, move = wide
    table = torch.cat([queries[:, :1], move(queries[:, 1:])], dim=-1)
    result = track(model, frames, table)
    tracker, number = OnlineTracker(model), {}
    for t, frame in enumerate(frames):
        for index in (sample.queries.frame == t).nonzero()[:, 0].tolist():
            number[int(tracker.add_queries(table[index : index + 1, 1:])[0])] = index
        found = tracker.step(frame)
        mine = [number[key] for key in found.ids.tolist()]
        assert torch.equal(found.tracks, result.tracks[t, mine])
        assert torch.equal(found.visible, result.visible[t, mine])
