"""A tracker that is put away and taken up again."""

import pytest
import torch

from retracker.inference.online import OnlineTracker

POINTS = torch.tensor([[20.0, 30.0], [40.5, 12.0], [33.0, 50.0]])


def equal(a, b):
    return all(
        torch.equal(getattr(a, name), getattr(b, name)) for name in ("tracks", "visible", "confidence", "ids")
    )


@pytest.mark.parametrize("subpixel", [True, False])
def test_it_goes_on_to_the_bit_from_a_file_in_another_tracker(model, sample, tmp_path, subpixel):
    tracker = OnlineTracker(model, group_size=2, subpixel=subpixel)
    ids = tracker.add_queries(POINTS)
    tracker.step(sample.video[0])
    tracker.remove_queries(ids[:1])
    tracker.step(sample.video[1])
    late = tracker.add_queries([[10.0, 10.0]])  # asked for, but not born yet
    torch.save(tracker.snapshot(), tmp_path / "kept.pt")
    expected = [tracker.step(frame) for frame in sample.video[2:]]
    other = OnlineTracker(model)
    other.restore(torch.load(tmp_path / "kept.pt", weights_only=True))
    assert all(equal(other.step(frame), was) for frame, was in zip(sample.video[2:], expected, strict=True))
    assert late.tolist() == [3] and other.add_queries([[1.0, 1.0]]).tolist() == [4]


def test_a_snapshot_may_be_gone_back_to_and_is_not_written_into(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries(POINTS)
    tracker.step(sample.video[0])
    kept = tracker.snapshot()
    first = [tracker.step(frame) for frame in sample.video[1:]]
    for _ in range(2):
        tracker.restore(kept)
        assert all(
            equal(tracker.step(frame), was) for frame, was in zip(sample.video[1:], first, strict=True)
        )


def test_a_tracker_of_nobody_has_a_snapshot(model, sample):
    tracker, other = OnlineTracker(model), OnlineTracker(model)
    other.restore(tracker.snapshot())
    other.add_queries(POINTS)
    assert len(other.step(sample.video[0]).ids) == 3


def test_other_weights_and_other_things_are_refused(model, sample):
    tracker = OnlineTracker(model)
    tracker.add_queries(POINTS)
    tracker.step(sample.video[0])
    kept = tracker.snapshot()
    with pytest.raises(ValueError, match="expected what OnlineTracker.snapshot"):
        tracker.restore({"size": None})
    with pytest.raises(ValueError, match="version"):
        tracker.restore(kept | {"version": 0})
    with torch.no_grad():
        model.coarse.temperature += 1
    with pytest.raises(ValueError, match="other weights"):
        tracker.restore(kept)
    assert len(tracker.step(sample.video[1]).ids) == 3  # as it was


def test_the_working_size_is_the_snapshots_even_if_the_net_would_now_choose_another(model, sample):
    model.image_size, model.most_enlarged = 256, None
    tracker = OnlineTracker(model)
    tracker.add_queries(POINTS)
    tracker.step(sample.video[0])
    kept = tracker.snapshot()
    expected = tracker.step(sample.video[1])
    model.most_enlarged = 1.25  # as after tools/fit_thresholds.py: the weights are the same
    other = OnlineTracker(model)
    other.restore(kept)
    assert equal(other.step(sample.video[1]), expected)
    del kept["small"]  # taken before this was kept: with the net as it is now
    other.restore(kept)
    assert not equal(other.step(sample.video[1]), expected)
