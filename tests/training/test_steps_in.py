"""tools/steps_in.py: a number of steps for a number of minutes."""

import runpy
from pathlib import Path

from tests.training.test_training_run import SMALL

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "steps_in.py"))


def test_it_takes_a_few_steps_to_know():
    assert TOOL["seconds_per_step"]([*SMALL, "trainer.max_steps=6"]) > 0


def test_what_fits_leaves_a_little_time(monkeypatch, capsys):
    monkeypatch.setitem(TOOL["main"].__globals__, "seconds_per_step", lambda overrides: 0.5 * len(overrides))
    assert TOOL["main"](["2", "tracking"]) == 0
    assert capsys.readouterr().out == "228\n"  # 95 % of 120 s, at 0.5 s
    assert TOOL["main"](["2", "tracking", "data.batch_size=4"]) == 0
    assert capsys.readouterr().out == "114\n"


def test_a_mistake_is_one_line(capsys):
    assert TOOL["main"](["0", "tracking"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
