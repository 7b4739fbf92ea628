"""tools/study.py: the changes it knows are changes, and its table compares them."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from retracker.configuration import compose_config

MODULE = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "study.py"))
TOOL = SimpleNamespace(**MODULE)
SCORES = {"AJ easy": 80.0, "AJ medium": 50.0, "AJ hard": 30.0, "AJ": 53.3, "delta_avg": 60.0, "OA": 80.0}


@pytest.mark.parametrize("name", TOOL.VARIANTS)
def test_each_variant_is_a_configuration_of_its_own(name):
    base, changed = (
        compose_config("train", ["+experiment=tracking", *TOOL.VARIANTS[key]]) for key in (TOOL.BASE, name)
    )
    same = [a == b for a, b in zip(parts(base), parts(changed), strict=True)]
    assert all(same) == (name == TOOL.BASE)


def parts(cfg):
    return cfg.model, cfg.data, cfg.module.loss, cfg.seed


def finished(folder, **changes):
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps(SCORES | changes))


def test_the_table_shows_differences_from_what_it_is_and_leaves_out_what_is_missing(tmp_path, capsys):
    finished(tmp_path / TOOL.folder_of("no memory patches"), AJ=50.8)
    assert TOOL.main(["--table", "--out", str(tmp_path)]) == 0
    assert "'as it is' is missing" in capsys.readouterr().out
    finished(tmp_path / TOOL.folder_of("as it is"))
    assert TOOL.main(["--table", "--steps", "7", "--out", str(tmp_path)]) == 0
    head, _, base, other = capsys.readouterr().out.splitlines()
    assert head == "| 7 steps each | AJ easy | AJ medium | AJ hard | AJ | delta_avg | OA |"
    assert base == "| as it is | 80.0 | 50.0 | 30.0 | 53.3 | 60.0 | 80.0 |"
    assert other == "| no memory patches | +0.0 | +0.0 | +0.0 | -2.5 | +0.0 | +0.0 |"


def test_it_trains_evaluates_and_measures_transfer_once(tmp_path, monkeypatch):
    calls = []

    def call(*words):
        calls.append(words[1] if words[0] == "-m" else Path(words[0]).name)
        part = "eval" if calls[-1] == "retracker.eval" else "transfer"
        (tmp_path / "as_it_is" / part).mkdir(parents=True, exist_ok=True)
        means = {"average_jaccard": 0.5, "average_pts_within_thresh": 0.6, "occlusion_accuracy": 0.7}
        results = {
            "eval": {"contestants": {"ReTracker": {"means": dict.fromkeys((*TOOL.GROUPS, "all"), means)}}},
            "transfer": {"pairs": {"motorcycle": {"ReTracker": {"delta_avg": 40.0}}}},
        }
        (tmp_path / "as_it_is" / part / "results.json").write_text(json.dumps(results[part]))

    monkeypatch.setitem(MODULE["study"].__globals__, "call", call)
    for _ in range(2):
        assert TOOL.main(["--only", "as it is", "--out", str(tmp_path)]) == 0
    assert calls == ["retracker.train", "retracker.eval", "transfer.py"]
    scores = TOOL.read(tmp_path / "as_it_is")
    assert scores["AJ"] == 50.0 and scores["OA"] == 70.0 and scores["motorcycle"] == 40.0


def test_an_unknown_name_is_one_line(capsys):
    assert TOOL.main(["--only", "everything"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
