"""tools/benchmark.py measures what it says, on a very small job."""

import json
import runpy
from pathlib import Path

from tests.benchmarks.test_peers import HUBCONF

TOOL = Path(__file__).parents[2] / "tools" / "benchmark.py"
SMALL = [
    "--size",
    "64",
    "--points",
    "3",
    "--frames",
    "6",
    "--repeats",
    "1",
    "--stream",
    "12",
    "--threads",
    "1",
]


def test_it_writes_speed_profile_and_memory(tmp_path, capsys):
    main = runpy.run_path(str(TOOL))["main"]
    assert main([*SMALL, "--json", str(tmp_path / "out.json")]) == 0
    report = json.loads((tmp_path / "out.json").read_text())
    parts = report["milliseconds per frame"]
    named = parts["encode"] + parts["coarse"] + parts["refiner"] + parts["memory"]
    assert 0 < named <= parts["all"]
    assert report["speed"]["ratio"] == report["speed"]["net fps"] / report["speed"]["Lucas-Kanade fps"]
    assert report["bytes per point"] > 0 and report["stream"]["frames"] == 12
    assert "bytes per point" in capsys.readouterr().out


def test_the_table_has_the_usual_settings_and_every_tracker(tmp_path, capsys, monkeypatch):
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    main = runpy.run_path(str(TOOL))["main"]
    monkeypatch.setitem(main.__globals__, "USUAL", (((48, 64), 3), ((64, 64), 2)))
    command = ["--frames", "6", "--repeats", "1", "--threads", "1", "--table", "--cotracker", str(tmp_path)]
    assert main(command) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    names = ["ReTracker", "ReTracker, full size", "Lucas-Kanade", "CoTracker3 online"]
    assert [cell.strip() for cell in head.split("|")[2:-1]] == names
    assert [row.split("|")[1].strip() for row in rows] == ["64 x 48, 3 points", "64 x 64, 2 points"]
    assert all(float(cell) > 0 for row in rows for cell in row.split("|")[2:-1])


def test_an_unknown_checkpoint_is_one_line_and_exit_code_2(capsys):
    main = runpy.run_path(str(TOOL))["main"]
    assert main(["--ckpt", "nowhere.ckpt"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
