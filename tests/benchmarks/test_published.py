"""The file of published numbers is complete, consistent, and refused where it is not."""

import re
from pathlib import Path

import pytest
import yaml

from retracker.benchmarks.published import KINDS, PATH, load

CONFIGS = Path(__file__).parents[2] / "configs" / "benchmark"
ROW = "{method: Peer, values: [50.0, ~], source: [paper]}"
GOOD = f"""
sources:
  paper: {{kind: paper, where: "Somebody, table 1"}}
benchmarks:
  videos:
    metrics: [average_jaccard, occlusion_accuracy]
    requires: {{query_mode: first, input: 256 x 256}}
    rows:
      - {ROW}
  others:
    none: nobody published any
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "published.yaml"
        path.write_text(text)
        return path

    return write


def test_every_benchmark_has_an_entry():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} <= set(load())


def test_the_numbers_are_those_of_the_reference():
    listings = load()

    def numbers(benchmark, method, **wanted):
        return [
            tuple(row.values.values())
            for row in listings[benchmark].rows
            if row.method == method and all(getattr(row, key) == value for key, value in wanted.items())
        ]

    assert numbers("tapvid_davis", "Track-On-R") == [(68.1, 80.3, 92.5)]
    assert numbers("tapvid_davis", "BootsTAPIR") == [(61.4, 74.0, 88.4), (62.4,)]  # two sources, two rows
    assert numbers("tapvid_davis_strided", "BootsTAPNext-B") == [(68.9, 82.4, 91.6)]
    assert numbers("tapvid_kinetics", "TAPNext++") == [(53.9, 68.4, 88.7)]
    assert numbers("pointodyssey", "PIPs++") == [(31.3, 32.7, 33.0)]
    assert numbers("scannet1500", "LoFTR", category="trained on ScanNet") == [(22.1, 40.8, 57.6)]
    assert numbers("megadepth1500", "SuperPoint + LightGlue") == [
        (49.9, 67.0, 80.1),
        (51.0, 68.1, 80.7),
        (66.8, 79.3, 87.9),
    ]
    assert numbers("yfcc", "SuperGlue") == [(39.02, 59.51, 75.72)]


def test_what_is_only_remembered_is_not_quoted():
    methods = {row.method for row in load()["yfcc"].rows}
    assert not methods & {"LoFTR", "ASpanFormer", "PATS"}
    assert load()["yfcc1500"].rows == () and "no published list" in load()["yfcc1500"].none


def test_every_source_is_cited_and_all_numbers_are_percentages_or_pixels():
    content = yaml.safe_load(PATH.read_text())
    cited = {
        name
        for listing in content["benchmarks"].values()
        for row in listing.get("rows", [])
        for name in row["source"]
    }
    assert cited == set(content["sources"])
    assert {source["kind"] for source in content["sources"].values()} == set(KINDS)
    assert all(
        0 <= v <= 100 for listing in load().values() for row in listing.rows for v in row.values.values()
    )


def test_no_benchmark_is_listed_twice():
    names = re.findall(r"^  (\w+):$", PATH.read_text(), flags=re.MULTILINE)
    assert len(names) == len(set(names)) == len(load())


def test_high_resolution_input_is_not_comparable_with_the_usual_one():
    protocol = {"query_mode": "first", "input": "256 x 256"}
    unlike = {
        (row.method, row.values["average_jaccard"]): row.unlike(protocol)
        for row in load()["tapvid_davis"].rows
        if "average_jaccard" in row.values
    }
    assert unlike["TAPNext++", 65.6] is None and unlike["TAPNext++", 67.0] == "input 512 x 512"
    assert unlike["AllTracker", 63.3] == "AllTracker's rules, 384 x 512 input"


def test_presets_are_told_apart():
    [row] = [row for row in load()["megadepth1500"].rows if row.values["exact_auc_5"] == 66.8]
    assert row.unlike({"preset": "gluefactory_poselib"}) is None
    assert row.unlike({"preset": "gluefactory_opencv"}) == "preset gluefactory_poselib"


def test_what_is_written_is_read(written):
    listings = load(written(GOOD))
    [row] = listings["videos"].rows
    assert row.method == "Peer" and row.values == {"average_jaccard": 50.0}
    assert [str(source) for source in row.sources] == ["paper: Somebody, table 1"]
    assert row.requires == {"query_mode": "first", "input": "256 x 256"} and row.year is None
    assert listings["others"].none == "nobody published any"


def test_a_row_may_add_to_the_requirements_and_have_its_own_metrics(written):
    row = "{method: Peer, metrics: [survival], values: [50], requires: {input: native}, source: [paper]}"
    [row] = load(written(GOOD.replace(ROW, row)))["videos"].rows
    assert row.requires == {"query_mode": "first", "input": "native"} and row.values == {"survival": 50.0}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ROW, "{values: [50.0, ~], source: [paper]}", "videos, row 1: expected a method"),
        (ROW, "{method: Peer, values: [50.0], source: [paper]}", "row 1 (Peer): expected 2 values"),
        (ROW, "{method: Peer, values: [high, ~], source: [paper]}", "expected values that are numbers"),
        (ROW, "{method: Peer, values: [~, ~], source: [paper]}", "expected values that are numbers"),
        (ROW, "{method: Peer, values: [.nan, ~], source: [paper]}", "expected values that are numbers"),
        (ROW, "{method: Peer, values: [yes, ~], source: [paper]}", "expected values that are numbers"),
        (ROW, "{method: Peer, values: [1, 2], source: [memory]}", "sources that the file lists"),
        (ROW, "{method: Peer, values: [1, 2], source: []}", "sources that the file lists"),
        (ROW, "{method: Peer, values: [1, 2], source: [paper], online: yes}", "online as str, got True"),
        (ROW, "{method: Peer, values: [1, 2], source: [paper], online: always}", "frame, windows, offline"),
        (ROW, "{method: Peer, values: [1, 2], source: [paper], year: last}", "year as int"),
        (ROW, "{method: Peer, values: [1, 2], source: [paper], years: 22}", "expected keys of method"),
        (ROW, "Peer", "videos, row 1: expected keys of"),
        (f"      - {ROW}\n", "      []\n", "videos: expected rows"),
        ("none: nobody", "metrics: nobody", "others: expected rows"),
        ("none: nobody", "nothing: nobody", "others: expected none, or metrics"),
        ("kind: paper", "kind: rumour", "source paper: expected a kind of official repository"),
        ("sources:", "origins:", "expected the keys sources and benchmarks, got origins, benchmarks"),
        ("[average_jaccard, occlusion_accuracy]", "[a, a]", "metrics, each named once"),
        ("    rows:", "   rows:", "is not yaml"),
    ],
)
def test_a_malformed_file_is_one_sentence_with_file_and_entry(written, old, new, message):
    assert old in GOOD
    path = written(GOOD.replace(old, new))
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)
