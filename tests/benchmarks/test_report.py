"""Tables say what was measured, what was published and what must be known to compare the two."""

import math

import pytest
from hand_made import NAN, Pairs, Videos, results, scores, standing
from rich.console import Console

from retracker.benchmarks.published import Listing, Published, Source, load
from retracker.benchmarks.report import markdown_of, overview_of, table_of, write_curves
from retracker.benchmarks.results import Independence
from retracker.benchmarks.sheet import weights_of

PAPER = Source(kind="paper", where="Somebody, table 1")
PAGE = Source(kind="project page", where="somewhere")


def row(method, aj, **others):
    values = {"average_jaccard": aj} if aj is not None else {"average_pts_within_thresh": 70.0}
    return Published(**({"method": method, "values": values, "sources": [PAPER]} | others))


def rendered(table, width=120):
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def line_of(text, name):
    [line] = [line for line in text.splitlines() if line.strip(" |*").startswith(name)]
    return line


def run_of(value=0.5, **others):
    benchmark = Videos()
    ours = standing(benchmark, "ReTracker", scores(benchmark, value), **others)
    return results(benchmark, [standing(benchmark, "stay", scores(benchmark, 0.1)), ours])


def test_measured_shares_are_percentages_with_one_decimal():
    text = rendered(table_of(run_of(0.63649), {}))
    assert line_of(text, "ReTracker").split()[1:] == ["63.6"] * 8 + ["here"]
    assert line_of(text, "stay").split()[1:] == ["10.0"] * 8 + ["here"]


def test_a_threshold_other_than_the_checkpoints_is_told_beside_its_weights():
    settings = {"ckpt": "tiny", "sha256": "0123456789abcdef", "precision": "fp32", "visible_threshold": 0.9}
    [told] = weights_of(run_of(settings=settings))
    assert told == "ReTracker: tiny, sha256 0123456789ab, fp32, visible_threshold 0.9"
    [told] = weights_of(run_of(settings=settings | {"visible_threshold": None}))
    assert told == "ReTracker: tiny, sha256 0123456789ab, fp32"


def test_counts_are_shown_as_they_are():
    benchmark = Pairs()
    made = scores(benchmark, 0.5, matches=[1200.0, 1300.0, 1200.0, 1300.0], inliers=[9.0, 9.5, 9.0, 9.5])
    text = rendered(table_of(results(benchmark, [standing(benchmark, "sift", made)]), {}))
    assert line_of(text, "sift").split() == ["sift", *["50.0"] * 4, "1250", "9.25", *["50.0"] * 3, "here"]


@pytest.mark.parametrize("benchmark", [Videos(), Pairs()])
def test_the_real_published_numbers_fit_into_a_terminal(benchmark):
    run = results(benchmark, [standing(benchmark, "a method with quite a name", scores(benchmark, 0.5))])
    text = rendered(table_of(run, load()))
    assert max(map(len, text.splitlines())) <= 120
    assert "a method with quite a name" in text and "…" not in text
    overview = rendered(overview_of([run], load())[0])
    assert max(map(len, overview.splitlines())) <= 120 and "…" not in overview


def test_published_rows_are_not_multiplied_and_cite_their_sources():
    listing = Listing(rows=[row("Peer", 63.25, year=2025, sources=[PAGE, PAPER]), row("Other", 40.0)])
    text = rendered(table_of(run_of(), {"tapvid_davis": listing}))
    assert line_of(text, "Peer (2025)").split()[2:] == ["63.2", *["–"] * 7, "[1,", "2]"]
    assert line_of(text, "Other").split()[-1] == "[2]"
    assert "[1] project page: somewhere" in text and "[2] paper: Somebody, table 1" in text


def test_columns_that_do_not_fit_are_left_to_the_file():
    run = run_of(per_second=12.5)
    whole, narrow = rendered(table_of(run, {})), rendered(table_of(run, {}, width=64), width=64)
    assert "delta_avg" in whole and "no room" not in whole
    assert max(map(len, narrow.splitlines())) <= 64 and "…" not in narrow
    assert line_of(narrow, "ReTracker").split() == ["ReTracker", *["50.0"] * 4, "12.5", "here"]
    assert "no room here for <2 px, <4 px, <8 px, <16 px: see table.md" in " ".join(narrow.split())


def test_the_best_published_row_is_first_and_one_without_the_main_number_last():
    listing = Listing(rows=[row("Low", 10.0), row("None", None), row("High", 90.0)])
    text = markdown_of(run_of(), {"tapvid_davis": listing})
    places = [text.index(name) for name in ("| High", "| Low", "| None")]
    assert places == sorted(places)


def test_rows_of_another_protocol_stand_below_and_say_so():
    alike = row("Alike", 10.0, requires={"query_mode": "first", "input": "256 x 256"})
    larger = row("Larger", 90.0, requires={"query_mode": "first", "input": "512 x 512"})
    other = row("Other", 80.0, category="trained on it")
    text = rendered(table_of(run_of(), {"tapvid_davis": Listing(rows=[larger, other, alike])}))
    assert text.index("Alike") < text.index("published, not comparable") < text.index("Larger")
    assert "Larger: input 512 x 512" in text and "Other: trained on it" in text
    larger_run = run_of()
    larger_run.benchmark.protocol = {"query_mode": "first", "input": "512 x 512"}
    text = rendered(table_of(larger_run, {"tapvid_davis": Listing(rows=[larger, alike])}))
    assert text.index("Larger") < text.index("published, not comparable") < text.index("Alike")


def test_a_protocol_may_be_any_of_several():
    either = row("Either", 10.0, requires={"input": ["512 x 512", "256 x 256"]})
    assert either.unlike({"input": "256 x 256"}) is None
    assert either.unlike({"input": "native"}) == "input 512 x 512 or 256 x 256"


def test_a_terminal_has_some_rows_and_the_file_all():
    rows = [row(f"Method{i:02d}", float(i)) for i in range(30)]
    listing = {"tapvid_davis": Listing(rows=rows)}
    text, file = rendered(table_of(run_of(), listing)), markdown_of(run_of(), listing)
    assert text.count("Method") == 10 and "Method29" in text and "20 more published rows" in text
    assert file.count("Method") == 30 and "more published rows" not in file


def test_a_benchmark_without_published_numbers_says_why():
    assert "none: nobody did" in rendered(
        table_of(run_of(), {"tapvid_davis": Listing(none="none: nobody did")})
    )
    assert "none are listed" in rendered(table_of(run_of(), {}))


def test_a_tracker_whose_answers_depend_on_one_another_is_marked():
    failed = run_of(independence=Independence(largest_px=3.14, videos=3, points=20))
    for text in (rendered(table_of(failed, {})), markdown_of(failed, {})):
        assert line_of(text, "ReTracker†") and "stay†" not in text
        plain = " ".join(text.split())
        assert "not a valid entry by the benchmark's rules" in plain and "3.1 px" in plain
    seen_once = run_of(independence=Independence(largest_px=math.inf, videos=3, points=20))
    assert "visible in one answer only" in " ".join(rendered(table_of(seen_once, {})).split())


def test_one_that_passed_is_noted_and_one_that_was_not_checked_is_not():
    passed = rendered(table_of(run_of(independence=Independence(largest_px=0.0, videos=3, points=20)), {}))
    assert (
        "passed the independence check: ReTracker (20 points of each of 3 videos" in passed
        and "†" not in passed
    )
    assert "independence" not in rendered(table_of(run_of(), {}))


def test_published_methods_that_break_the_rule_are_marked():
    listing = {"tapvid_davis": Listing(rows=[row("Joint", 50.0, depends=True), row("Single", 50.0)])}
    text = rendered(table_of(run_of(), listing))
    assert "Joint†" in text and "Single†" not in text and "from reading its code" in text


def test_undefined_items_are_counted_and_named_once():
    benchmark = Videos()
    gaps = {"average_jaccard": [0.5, NAN, NAN, 0.7], "average_pts_within_thresh": [0.5, NAN, NAN, 0.7]}
    both = [standing(benchmark, name, scores(benchmark, 0.5, **gaps)) for name in ("stay", "ReTracker")]
    text = " ".join(markdown_of(results(benchmark, both), {}).split())
    assert "AJ, delta_avg: undefined on 2 of 4 videos, which are left out of the mean (clip1, clip2)" in text
    assert text.count("undefined on") == 1 and "| **ReTracker** | 60.0 | 60.0 | 50.0 |" in text
    one = [standing(benchmark, "stay", scores(benchmark, 0.5)), both[1]]
    text = " ".join(markdown_of(results(benchmark, one), {}).split())
    assert "AJ, delta_avg of ReTracker: undefined on 2 of 4" in text


def test_a_metric_that_is_defined_nowhere_is_a_dash():
    benchmark = Videos()
    made = scores(benchmark, 0.5, average_jaccard=[NAN] * 4)
    text = markdown_of(results(benchmark, [standing(benchmark, "ReTracker", made)]), {})
    assert "| **ReTracker** | – | 50.0 |" in text and "undefined on 4 of 4" in text


def test_a_limited_run_says_so_in_its_title():
    benchmark = Videos()
    run = results(benchmark, [standing(benchmark, "ReTracker", scores(benchmark, 0.5))], of_items=30)
    for text in (rendered(table_of(run, {})), markdown_of(run, {}), overview_of([run], {})[1]):
        assert "TAP-Vid DAVIS, first: 4 of 30 videos" in text


def test_the_protocol_stands_under_the_title():
    benchmark = Pairs()
    run = results(benchmark, [standing(benchmark, "sift", scores(benchmark, 0.5))])
    expected = "preset: roma; solver: opencv; thresholds_px: 0.5; shuffle: yes; samples: none"
    assert rendered(table_of(run, {})).splitlines()[1].strip() == expected
    assert markdown_of(run, {}).splitlines()[2] == expected


def test_groups_come_before_all():
    benchmark = Videos()
    groups = {"clip0": "easy", "clip1": "easy", "clip2": "hard", "clip3": "hard"}
    made = scores(benchmark, 0.5, average_jaccard=[0.8, 0.8, 0.2, 0.2])
    ours = standing(benchmark, "ReTracker", made, groups=groups, per_second=12.0)
    text = markdown_of(results(benchmark, [ours], groups=groups), {})
    lines = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| *")]
    assert [[cell.strip() for cell in line] for line in lines] == [
        ["*easy (2 videos)*", ""],
        ["**ReTracker**", "80.0"],
        ["*hard (2 videos)*", ""],
        ["**ReTracker**", "20.0"],
        ["*all (4 videos)*", ""],
        ["**ReTracker**", "50.0"],
    ]


def test_the_file_is_the_same_however_fast_a_run_was():
    assert "12.3" in rendered(table_of(run_of(per_second=12.3), {}))
    assert markdown_of(run_of(per_second=12.3), {}) == markdown_of(run_of(per_second=99.0), {})


def test_brackets_and_bars_in_names_stay():
    benchmark = Videos()
    run = results(benchmark, [standing(benchmark, "[red]mine|yours", scores(benchmark, 0.5))])
    assert "[red]mine|yours" in rendered(table_of(run, {}))
    assert "[red]mine\\|yours" in markdown_of(run, {})


def test_the_overview_has_the_main_numbers_and_the_best_comparable_rows():
    rows = [row(f"Online{i}", 50.0 + i, online="frame") for i in range(8)]
    rows += [row("Film", 90.0, online="offline"), row("Slower", 89.0, online="offline"), row("Delta", None)]
    rows += [row("Larger", 99.0, category="512 x 512 input"), row("Online7", 51.5, online="frame")]
    pairs = results(Pairs(), [standing(Pairs(), "sift", scores(Pairs(), 0.25))])
    table, markdown = overview_of([run_of(), pairs], {"tapvid_davis": Listing(rows=rows)})
    told = [line.split(" | ")[1:4] for line in markdown.splitlines() if line.startswith("| ")][2:]
    av, auc = "AJ / delta_avg / OA", "AUC@5 / AUC@10 / AUC@20"
    assert told == [
        [av, "stay", "10.0 / 10.0 / 10.0"],
        [av, "**ReTracker**", "50.0 / 50.0 / 50.0"],
        [av, "Film", "90.0 / – / –"],
        [av, "Online7 (online)", "57.0 / – / –"],
        [av, "Online6 (online)", "56.0 / – / –"],
        [av, "Online5 (online)", "55.0 / – / –"],
        [av, "Online4 (online)", "54.0 / – / –"],
        [auc, "**sift**", "25.0 / 25.0 / 25.0"],
    ]
    text = rendered(table)
    assert text.count("TAP-Vid DAVIS, first: 4 videos") == 1 and "MegaDepth-1500 (roma: opencv" in text


def test_the_overview_of_marked_runs_says_whose():
    failed = run_of(independence=Independence(largest_px=3.14, videos=3, points=20))
    table, markdown = overview_of([failed], {})
    assert "**ReTracker†**" in markdown and "TAP-Vid DAVIS, first: † ReTracker: its answer" in markdown
    assert "ReTracker†" in rendered(table)


def test_curves_of_a_run_are_written(tmp_path):
    path = write_curves(run_of(), tmp_path / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
