"""Runs: what is kept, what is gone on with, what is the same again; and means worked out by hand."""

import json
import math

import numpy as np
import pytest
import torch
from toy import Toy, clip, contestant, drift, leans, stays

from retracker.benchmarks.protocol import Tracked, plain_means
from retracker.benchmarks.ranks import ALONE, Ranks
from retracker.benchmarks.results import Results, as_json, finite, restored
from retracker.benchmarks.runner import Plan, draw_worst, groups_of, run, standing
from retracker.benchmarks.store import Record, Store
from retracker.media.video import probe


def toys(count=5):
    return Toy([drift(1.5 * i, name=f"toy/{i}") for i in range(count)])


def complete(benchmark, contestants, folder, plan=None, ranks=ALONE, **options):
    """Run, and the content of results.json."""
    store = Store(folder, keep_predictions=options.pop("keep_predictions", False))
    store.claim({"name": benchmark.name}, overwrite=False)
    plan = plan or Plan(indices=range(len(benchmark)))
    run(benchmark, contestants, store, plan, ranks, lambda _: None)
    results = Results(
        benchmark=benchmark,
        groups=groups_of(benchmark, plan),
        standings=[standing(benchmark, one, store, plan) for one in contestants],
        of_items=len(benchmark),
        versions={},
    )
    return as_json(results)


def test_the_mean_is_over_videos_not_over_frames(tmp_path):
    benchmark = Toy([drift(0.0, num_frames=3), drift(100.0, num_frames=11, name="toy/1")])
    [of_all] = complete(benchmark, [contestant()], tmp_path)["contestants"]["stays"]["means"].values()
    # One of two points stays: all of the first clip is found, half of the second.
    assert of_all["average_pts_within_thresh"] == pytest.approx(0.75)


def test_groups_have_means_of_their_own_and_all_comes_last(tmp_path):
    benchmark = Toy(
        [drift(s, name=f"toy/{s}") for s in (0.0, 100.0, 100.0001)], groups=["easy", "hard", "hard"]
    )
    means = complete(benchmark, [contestant()], tmp_path)["contestants"]["stays"]["means"]
    found = {group: values["average_pts_within_thresh"] for group, values in means.items()}
    assert list(found) == ["easy", "hard", "all"]
    assert list(found.values()) == pytest.approx([1, 0.5, 2 / 3])


def test_a_clip_with_nothing_to_measure_is_left_out_counted_and_named(tmp_path):
    hidden = clip([[[5.0, 5.0]]] * 3, [[True], [False], [False]], name="toy/hidden")
    told = complete(Toy([hidden, drift(0.0)]), [contestant()], tmp_path)["contestants"]["stays"]
    assert told["undefined"]["average_pts_within_thresh"] == ["toy/hidden"]
    assert told["items"]["toy/hidden"]["average_pts_within_thresh"] is None
    assert told["means"]["all"]["average_pts_within_thresh"] == 1
    # It is called visible where it is hidden: that can be measured, and counts.
    assert not {"average_jaccard", "occlusion_accuracy"} & set(told["undefined"])
    assert told["means"]["all"]["average_jaccard"] == told["means"]["all"]["occlusion_accuracy"] == 0.5


def test_a_metric_that_is_defined_nowhere_stays_undefined_and_no_item_is_an_error():
    summary = plain_means({"a": {"x": math.nan}, "b": {"x": math.nan}})
    assert math.isnan(summary.values["x"]) and summary.undefined == {"x": ["a", "b"]}
    with pytest.raises(ValueError, match="no item"):
        plain_means({})


def test_what_is_done_is_not_done_again(tmp_path):
    asked = []

    def counting(video, queries):
        asked.append(1)
        return stays(video, queries)

    benchmark = toys()
    first = complete(benchmark, [contestant(counting)], tmp_path)
    again = complete(benchmark, [contestant(counting)], tmp_path)
    assert (len(asked), benchmark.reads, first) == (5, [0, 1, 2, 3, 4], again)


def test_a_run_that_is_stopped_goes_on_and_gives_the_same(tmp_path):
    def breaks(video, queries):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return stays(video, queries)

    left = [1, 1]
    with pytest.raises(KeyboardInterrupt):
        complete(toys(), [contestant(breaks)], tmp_path / "stopped")
    assert len(list((tmp_path / "stopped/items/stays").iterdir())) == 2
    left = [1] * 3  # just enough for what is missing
    went_on = complete(toys(), [contestant(breaks)], tmp_path / "stopped")
    assert went_on == complete(toys(), [contestant()], tmp_path / "whole")


def test_shares_are_disjoint_and_whole_and_give_the_same_numbers(tmp_path):
    plan = Plan(indices=range(5))
    store = Store(tmp_path / "shared", keep_predictions=False)
    for rank in range(3):
        run(toys(), [contestant()], store, plan, Ranks(rank=rank, world_size=3), lambda _: None)
    shared = complete(toys(), [contestant()], tmp_path / "shared")
    assert shared == complete(toys(), [contestant()], tmp_path / "alone")
    read = [Ranks(rank=r, world_size=7).share(range(5)) for r in range(7)]
    assert sorted(i for share in read for i in share) == list(range(5))


def test_a_share_that_is_missing_is_named(tmp_path):
    store, plan = Store(tmp_path, keep_predictions=False), Plan(indices=range(5))
    run(toys(), [contestant()], store, plan, Ranks(rank=0, world_size=2), lambda _: None)
    with pytest.raises(FileNotFoundError, match="lacks stays on toy/1"):
        standing(toys(), contestant(), store, plan)


def test_a_damaged_record_is_made_anew(tmp_path):
    whole = complete(toys(), [contestant()], tmp_path)
    (tmp_path / "items/stays/00002.json").write_text('{"item": "toy/2", "sco')
    assert complete(toys(), [contestant()], tmp_path) == whole


def test_predictions_are_kept_where_asked_for_and_made_up_for_later(tmp_path):
    complete(toys(2), [contestant()], tmp_path)
    assert not (tmp_path / "predictions").exists()
    complete(toys(2), [contestant()], tmp_path, keep_predictions=True)
    [first, _] = sorted((tmp_path / "predictions/stays").iterdir())
    with np.load(first) as kept:
        assert kept["tracks"].shape == (4, 2, 2) and kept["visible"].all()
        assert kept["queries"].tolist() == [[0, 10, 20], [0, 30, 40]] and str(kept["video_name"]) == "toy/0"


def test_another_evaluation_is_refused_by_what_differs_unless_it_may_be_overwritten(tmp_path):
    store = Store(tmp_path, keep_predictions=False)
    store.claim({"protocol": {"threshold": 1}, "threads": 1}, overwrite=False)
    store.keep("stays", 0, Record(item="toy/0", scores={"x": 1.0}), {})
    (tmp_path / "items/stays/.00001.7.partial.json").touch()  # of a process that was killed
    store.claim({"protocol": {"threshold": 1}, "threads": 1}, overwrite=False)
    assert (
        store.record("stays", 0).scores == {"x": 1.0} and len(list((tmp_path / "items/stays").iterdir())) == 1
    )
    with pytest.raises(ValueError, match="protocol.threshold: there 1, now 2.*overwrite=true"):
        store.claim({"protocol": {"threshold": 2}, "threads": 1}, overwrite=False)
    store.claim({"protocol": {"threshold": 2}, "threads": 1}, overwrite=True)
    assert store.record("stays", 0) is None


def test_contestants_may_join_a_folder_but_not_change_in_it(tmp_path):
    def claim(**contestants):
        with Store(tmp_path, keep_predictions=False) as store:
            store.claim({"threads": 1, "contestants": contestants}, overwrite=False)

    claim(ours={"size": 1})
    claim(ours={"size": 1}, stay={})
    claim(lucas={"window": 3})
    assert json.loads((tmp_path / "run.json").read_text())["contestants"] == {
        "ours": {"size": 1},
        "stay": {},
        "lucas": {"window": 3},
    }
    with pytest.raises(ValueError, match="contestants.ours.size: there 1, now 2"):
        claim(ours={"size": 2})


def test_a_folder_is_of_one_run_at_a_time(tmp_path):
    first, second = (Store(tmp_path, keep_predictions=False) for _ in range(2))
    with first:
        first.claim({}, overwrite=False)
        with pytest.raises(ValueError, match="another run is writing here"):
            second.claim({}, overwrite=True)
    second.claim({}, overwrite=False)


def test_a_tracker_whose_points_depend_on_each_other_is_found_out(tmp_path):
    plan = Plan(indices=range(5), alone=[0, 4], points_alone=2)
    told = complete(toys(), [contestant(), contestant(leans, "leans")], tmp_path, plan)["contestants"]
    assert told["stays"]["independence"] == {
        "largest_px_at_256": 0.0,
        "videos": 2,
        "points_of_each": 2,
        "passed": True,
    }
    # Between (10, 20) and (30, 40) the mean is 10 px off in x and y, and a tenth of that is leant.
    assert told["leans"]["independence"]["largest_px_at_256"] == pytest.approx(2**0.5, rel=1e-5)
    assert told["leans"]["independence"]["passed"] is False


def test_a_point_that_is_visible_in_company_only_fails_by_more_than_any_number(tmp_path):
    def crowd(video, queries):
        answer = stays(video, queries)
        return Tracked(
            tracks=answer.tracks, visible=answer.visible & (len(queries) > 1), confidence=answer.confidence
        )

    plan = Plan(indices=[0], alone=[0], points_alone=1)
    told = complete(toys(), [contestant(crowd)], tmp_path, plan)["contestants"]["stays"]["independence"]
    assert told["passed"] is False and told["largest_px_at_256"] is None


def test_independence_is_made_up_for_where_it_was_not_asked_at_first(tmp_path):
    complete(toys(), [contestant()], tmp_path)
    plan = Plan(indices=range(5), alone=[2], points_alone=2)
    told = complete(toys(), [contestant()], tmp_path, plan)["contestants"]["stays"]
    assert told["independence"]["videos"] == 1


def test_more_points_alone_are_asked_for_anew(tmp_path):
    def leans_far_down(video, queries):
        answer = stays(video, queries)
        company = (len(queries) > 1) * (queries[:, 2] > 90)  # of three points the second is below 90 px
        return Tracked(
            tracks=answer.tracks + company[None, :, None].float(),
            visible=answer.visible,
            confidence=answer.confidence,
        )

    benchmark = Toy([clip([[[5.0, 5.0], [5.0, 99.0], [5.0, 50.0]]] * 3, [[True] * 3] * 3)])
    for points, passed in ((2, True), (3, False)):
        plan = Plan(indices=[0], alone=[0], points_alone=points)
        told = complete(benchmark, [contestant(leans_far_down)], tmp_path, plan)["contestants"]["stays"]
        assert told["independence"]["points_of_each"] == points
        assert told["independence"]["passed"] is passed


@pytest.mark.parametrize("query_mode", ["first", "strided"])
def test_who_draws_random_numbers_is_not_taken_for_one_who_leans(tmp_path, query_mode):
    def draws(video, queries):
        answer = stays(video, queries)
        support = torch.rand(2) + np.random.rand()
        return Tracked(tracks=answer.tracks + support, visible=answer.visible, confidence=answer.confidence)

    plan = Plan(indices=[0], alone=[0], points_alone=2)
    benchmark = Toy([drift(1.0)], query_mode=query_mode)
    told = complete(benchmark, [contestant(draws)], tmp_path, plan)["contestants"]["stays"]
    assert told["independence"]["largest_px_at_256"] == 0.0


def test_the_worst_are_drawn_worst_first(tmp_path):
    benchmark, plan = toys(), Plan(indices=range(5))
    complete(benchmark, [contestant()], tmp_path)
    found = standing(benchmark, contestant(), Store(tmp_path, keep_predictions=False), plan)
    paths = draw_worst(benchmark, contestant(), plan, found.scores, 2, tmp_path / "worst")
    assert [path.name for path in paths] == ["01_toy_4.mp4", "02_toy_3.mp4"]
    assert probe(paths[0]).height >= 256
    draw_worst(benchmark, contestant(), Plan(indices=range(3)), found.scores, 1, tmp_path / "worst")
    assert [path.name for path in (tmp_path / "worst").iterdir()] == ["01_toy_2.mp4"]  # of this run only


def test_numbers_survive_json():
    scores = {"a": math.nan, "b": math.inf, "c": 0.1 + 0.2}
    back = restored(json.loads(json.dumps(finite(scores), allow_nan=False)))
    assert math.isnan(back["a"]) and back["b"] == math.inf and back["c"] == 0.1 + 0.2


def test_strided_queries_are_followed_both_ways():
    class Follows:
        """Only ahead, one pixel a frame to the right; says nothing of the frames before."""

        def __call__(self, video, queries):
            step = (torch.arange(len(video))[:, None] - queries[None, :, 0]).clamp(min=0)
            tracks = queries[None, :, 1:] + torch.stack([step, torch.zeros_like(step)], dim=-1)
            shown = torch.arange(len(video))[:, None] >= queries[None, :, 0]
            return Tracked(tracks=tracks, visible=shown, confidence=shown.float())

    benchmark = Toy([drift(1.0)], query_mode="strided")
    sample = benchmark.clips[0]
    late = torch.tensor([2, 2])
    moved = sample.tracks[2]
    queries = type(sample.queries)(xy=moved, frame=late)
    answer = benchmark.ask(Follows(), type(sample)(**{**vars(sample), "queries": queries}))
    assert answer.visible.all()
    assert answer.tracks[:, 0, 0].tolist() == [14.0, 13.0, 12.0, 13.0]  # it knows no other way than right
