"""tools/compare_results.py says which items changed, and whether the difference is more than noise."""

import json
import math
import runpy
from pathlib import Path

import pytest
from hand_made import Pairs, Videos, results, scores, standing

from retracker.benchmarks.item_scores import item_scores
from retracker.benchmarks.pose_protocol import error_key
from retracker.benchmarks.protocol import Column, Summary
from retracker.benchmarks.results import as_json
from retracker.metrics.pose import approximate_pose_auc, pose_auc, share_below

TOOL = Path(__file__).parents[2] / "tools" / "compare_results.py"
main = runpy.run_path(str(TOOL))["main"]
THRESHOLD = 0.5


class Posed(Pairs):
    """Items with errors of two solver runs; scores of the whole as benchmarks of pose make them."""

    ranked_by = "closeness"

    def summarise(self, scores):
        pooled = [of[error_key(THRESHOLD, run)] for of in scores.values() for run in (0, 1)]
        values = {
            **{f"exact_auc_{d}": area for d, area in zip((5, 10), pose_auc(pooled, (5, 10)), strict=True)},
            "approximate_auc_10": approximate_pose_auc(pooled, (10,))[0],
            "share_below_7": share_below(pooled, 7),
            "threshold_px": THRESHOLD,
        }
        return Summary(values=values, undefined={})


@pytest.fixture
def written(tmp_path):
    def write(name, benchmark, *standings):
        path = tmp_path / name / "results.json"
        path.parent.mkdir()
        path.write_text(json.dumps(as_json(results(benchmark, list(standings)))))
        return str(path.parent)

    return write


def videos(written, name, values, method="ReTracker", benchmark=None):
    benchmark = benchmark or Videos()
    made = scores(benchmark, 0.5, count=len(values), average_jaccard=values)
    return written(name, benchmark, standing(benchmark, method, made))


def pairs(written, name, errors):
    made = {
        f"pair{i}": {"pose_error": max(of), "closeness": -1.0}
        | {error_key(THRESHOLD, run): error for run, error in enumerate(of)}
        for i, of in enumerate(errors)
    }
    return written(name, Posed(), standing(Posed(), "sift", made))


def told(capsys, *arguments, code=0):
    assert main([str(argument) for argument in arguments]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def test_a_gain_of_every_item_is_more_than_noise(written, capsys):
    a, b = videos(written, "a", [0.1, 0.2, 0.3, 0.4]), videos(written, "b", [0.2, 0.3, 0.45, 0.5])
    text = told(capsys, a, b)
    assert "4 of 4 items differ in average_jaccard" in text and "A 25.000, B 36.250" in text
    assert text.splitlines()[-1].startswith("B is better by 11.25 AJ (95 % ")
    assert text.endswith("): more than noise, as far as 4 items can tell\n")
    text = told(capsys, b, a)
    assert text.splitlines()[-1].startswith("B is worse by 11.25 AJ (95 % ")
    assert "B - A -11.250 (95 % -1" in text and "in 0.0% of the resamples" in text


def test_many_items_that_gain_and_lose_alike_are_noise(written, capsys):
    a, b = videos(written, "a", [0.5] * 40), videos(written, "b", [0.4, 0.6, 0.45, 0.55] * 10)
    text = told(capsys, a, b)
    assert "40 of 40 items differ" in text and text.endswith("): no more than noise\n")


def test_items_are_listed_by_how_much_they_changed(written, capsys):
    a, b = videos(written, "a", [0.1, 0.2, 0.3, 0.4]), videos(written, "b", [0.1, 0.25, 0.1, 0.5])
    lines = [line.split() for line in told(capsys, a, b).splitlines() if line.startswith("  clip")]
    assert lines == [
        ["clip2", "30.000", "10.000", "-20.000"],
        ["clip3", "40.000", "50.000", "+10.000"],
        ["clip1", "20.000", "25.000", "+5.000"],
    ]
    text = told(capsys, a, b, "--top", "1")
    assert "clip3" not in text and "and 2 more" in text and "no more than noise" in text


def test_equal_runs_are_identical(written, capsys):
    a, b = videos(written, "a", [0.1, 0.2]), videos(written, "b", [0.1, 0.2])
    assert told(capsys, a, b).splitlines()[-1] == "identical: no item differs in AJ"
    assert "0 of 2 items differ" in told(capsys, a, b)


def test_the_same_seed_gives_the_same_answer(written, capsys, tmp_path):
    a, b = videos(written, "a", [0.1, 0.2, 0.3, 0.4]), videos(written, "b", [0.15, 0.1, 0.5, 0.4])
    out = tmp_path / "out.json"
    texts = [told(capsys, a, b, "--seed", seed, "--json", out) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    content = json.loads(out.read_text())
    assert content["metric"] == "average_jaccard" and content["items"] == 4
    assert content["a"]["score"] == pytest.approx(0.25) and content["verdict"] in texts[2]
    assert [row["item"] for row in content["changed"]] == ["clip2", "clip1", "clip0"]
    assert content["difference"]["observed"] == pytest.approx(0.0375)


def test_items_undefined_in_either_run_are_left_out_and_named(written, capsys):
    a, b = videos(written, "a", [0.1, math.nan, 0.3, 0.4]), videos(written, "b", [0.2, 0.9, math.nan, 0.5])
    text = told(capsys, a, b)
    assert "left out, undefined: clip1, clip2" in text and "A 25.000, B 35.000" in text


def test_items_of_one_run_only_are_left_out_and_named(written, capsys):
    a, b = videos(written, "a", [0.1, 0.2, 0.3, 0.4]), videos(written, "b", [0.1, 0.2, 0.3])
    assert "left out, only in A: clip3" in told(capsys, a, b)
    assert "left out, only in B: clip3" in told(capsys, b, a)


def test_two_contestants_of_one_run_can_be_compared(written, capsys):
    benchmark = Videos()
    both = [
        standing(benchmark, name, scores(benchmark, value)) for name, value in (("stay", 0.1), ("ours", 0.5))
    ]
    run = written("a", benchmark, *both)
    assert "identical" in told(capsys, run, run)
    assert "B is better by 40.00 AJ" in told(capsys, run, run, "--contestant", "stay", "ours")
    assert "identical" in told(capsys, run, f"{run}/results.json", "--contestant", "stay")


def test_what_is_better_lower_is_judged_so(written, capsys):
    class Errors(Videos):
        columns = (Column(heading="MTE px", metric="median_error", percent=False, better="lower"),)
        ranked_by = "median_error"

    a, b = (
        written(
            name, Errors(), standing(Errors(), "ours", {f"c{i}": {"median_error": v + i} for i in range(5)})
        )
        for name, v in (("a", 3.0), ("b", 2.0))
    )
    text = told(capsys, a, b)
    assert text.splitlines()[-1].startswith("B is better by 1.00 MTE px (95 % 1.00 … 1.00")
    assert "B - A -1.000" in text


def test_areas_are_made_anew_from_the_errors_of_pairs(written, capsys):
    worse = [(1.0, 2.0), (3.0, 3.0), (8.0, 4.0), (math.inf, 30.0)]
    better = [(0.5, 1.0), (3.0, 3.0), (7.0, 4.0), (math.inf, math.inf)]
    a, b = pairs(written, "a", worse), pairs(written, "b", better)
    expected = [100 * pose_auc([e for of in errors for e in of], (5,))[0] for errors in (worse, better)]
    text = told(capsys, a, b)
    assert "exact_auc_5" not in text and "AUC@5" in text  # as the columns call it
    assert f"A {expected[0]:.3f}, B {expected[1]:.3f}" in text
    assert "differ in pose_error" in text and "pair3" not in text.split("differ")[1].split("left out")[0]
    assert "approx@10" in told(capsys, a, b, "--metric", "approximate_auc_10")


@pytest.mark.parametrize("metric", ["exact_auc_5", "exact_auc_10", "approximate_auc_10", "share_below_7"])
def test_scores_of_the_whole_and_of_its_items_agree(metric):
    errors = [(1.0, 2.0), (3.0, 7.0), (8.0, 4.9), (math.inf, 30.0), (5.0, 10.0)]
    items = {
        f"pair{i}": {error_key(THRESHOLD, run): error for run, error in enumerate(of)}
        for i, of in enumerate(errors)
    }
    means = Posed().summarise(items).values
    found = item_scores(list(items.values()), metric, means)
    assert found.measure.score == pytest.approx(means[metric], abs=1e-15)


def test_homographies_are_compared_by_their_corner_errors():
    items = [{"corner_error": e, "linear_corner_error": 2 * e} for e in (1.0, 3.0, 8.0, 30.0)]
    for metric, errors in (("exact_auc_5px", (1, 3, 8, 30)), ("linear_exact_auc_5px", (2, 6, 16, 60))):
        found = item_scores(items, metric, {})
        assert found.measure.score == pytest.approx(pose_auc(errors, (5,))[0])
    assert item_scores(items, "corners_within_3", {}).measure.score == 0.5


def test_runs_that_cannot_be_compared_are_refused_in_one_line(written, capsys, tmp_path):
    a = videos(written, "a", [0.1, 0.2])
    other = videos(written, "other", [0.1, 0.2], benchmark=Pairs())
    assert "of the benchmark tapvid_davis, B of megadepth1500" in told(capsys, a, other, code=2)
    strided = Videos()
    strided.protocol = {"query_mode": "strided", "input": "256 x 256"}
    b = videos(written, "b", [0.1, 0.2], benchmark=strided)
    error = told(capsys, a, b, code=2)
    assert "protocols differ in query_mode (query_mode: first in A, strided in B)" in error
    assert "identical" in told(capsys, a, b, "--force")
    elsewhere = written("c", Videos(), standing(Videos(), "ours", {"x": {"average_jaccard": 0.1}}))
    assert "the runs share no item" in told(capsys, a, elsewhere, code=2)
    assert "at least 2 items" in told(capsys, elsewhere, elsewhere, code=2)
    assert "no contestant 'x'; there are ReTracker" in told(capsys, a, a, "--contestant", "x", code=2)
    assert "one name or two" in told(capsys, a, a, "--contestant", "x", "y", "z", code=2)
    assert "there is no speed" in told(capsys, a, a, "--metric", "speed", code=2)
    assert "no such file" in told(capsys, a, tmp_path / "nowhere", code=2)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "else.json").write_text("[1]")
    assert "is not json" in told(capsys, a, tmp_path / "broken.json", code=2)
    error = told(capsys, a, tmp_path / "else.json", code=2)
    assert "else.json: is not the results.json of an evaluation" in error and error.count("\n") == 1


def test_a_mean_that_would_be_infinite_is_refused(written, capsys):
    a = pairs(written, "a", [(1.0, 2.0), (math.inf, math.inf)])
    error = told(capsys, a, a, "--metric", "pose_error", code=2)
    assert "infinite on 1 items" in error and "exact_auc_5" in error
    assert "no errors" in told(capsys, a, a, "--metric", "exact_auc_5px", code=2)
