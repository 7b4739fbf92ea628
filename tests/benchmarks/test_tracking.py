"""How trackers are asked, whatever the benchmark: malformed answers, both directions of time."""

import pytest
import torch
from test_baselines import flow, lucas_kanade, scene
from toy import Toy, clip, drift, stays

from retracker.benchmarks.baselines import stay
from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tracking import both_directions


@pytest.mark.parametrize("query_mode", ["first", "strided"])
@pytest.mark.parametrize(
    ("malformed", "told"),
    [
        (lambda a: a.map(lambda x: x[:, :1]), r"expected tracks \(4, 2, 2\) .*, got \(4, 1, 2\), \(4, 1\)"),
        (lambda a: a.map(lambda x: x[:1]), r"got \(1, 2, 2\), \(1, 2\) and \(1, 2\)"),
        (lambda a: Tracked(tracks=a.tracks / 0, visible=a.visible, confidence=a.confidence), "not finite"),
    ],
)
def test_a_malformed_answer_is_told_in_one_sentence_and_never_spread_over_points(query_mode, malformed, told):
    benchmark = Toy([drift(1.0)], query_mode=query_mode)
    with pytest.raises(ValueError, match=f"toy/0: .*{told}") as caught:
        benchmark.ask(lambda *asked: malformed(stays(*asked)), benchmark.read(0))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tracker", [stay, lucas_kanade, flow])
def test_points_born_at_either_end_are_followed_all_the_way_whatever_is_asked_beside_them(tracker):
    video, last = scene(8), 7
    queries = torch.tensor([[0, 40.0, 50.0], [last, 60.0, 40.0], [3, 50.0, 45.0]])
    together = both_directions(tracker)(video, queries)
    ahead, back = tracker(video, queries), tracker(video.flip(0), torch.tensor([[0, 60.0, 40.0]]))
    assert together.visible.all()
    torch.testing.assert_close(together.tracks[:, 0], ahead.tracks[:, 0])
    torch.testing.assert_close(together.tracks[:, 1], back.tracks.flip(0)[:, 0])
    assert torch.equal(together.tracks[queries[:, 0].long(), range(3)], queries[:, 1:])


@pytest.mark.parametrize("tracker", [stay, lucas_kanade, flow])
def test_a_video_of_one_frame_is_its_queries_in_both_directions(tracker):
    answer = both_directions(tracker)(scene(1), torch.tensor([[0.0, 112.0, 96.0]]))
    assert answer.tracks.tolist() == [[[112.0, 96.0]]] and answer.visible.all()
    still = clip([[[5.0, 5.0]]], [[True]])
    scores = Toy([still]).score(still, Toy([still]).ask(tracker, still))
    assert all(value != value for value in scores.values())  # nothing counts
