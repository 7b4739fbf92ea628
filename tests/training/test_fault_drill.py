"""tools/fault_drill.py: an elastic job that is hit goes on exactly; the short drill, and its table."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))  # as it is for a script
        return SimpleNamespace(**runpy.run_path(str(TOOLS / "fault_drill.py")))


def test_states_are_the_same_only_bit_by_bit(tool):
    state = {"a": [torch.tensor([1.0]), 2], "b": {"c": (torch.tensor(3),)}}
    assert tool.same(state, {"a": [torch.tensor([1.0]), 2], "b": {"c": (torch.tensor(3),)}})
    assert not tool.same(state, {"a": [torch.tensor([1.0 + 2**-23]), 2], "b": state["b"]})
    assert not tool.same(state, {"a": state["a"]}) and not tool.same([1], [1, 2])


def test_what_a_start_went_on_from_is_read_in_its_log(tool):
    said = "resume=auto: passed over /run/last.ckpt: damaged\nx: resume=auto: /run/last.1.ckpt\n"
    assert tool.resumed_from(said) == "last.1.ckpt"
    assert tool.resumed_from("resume=auto: nothing to resume from, starting afresh\n") == "nothing"


@pytest.mark.slow
def test_a_short_drill_ends_as_if_nothing_had_happened(tmp_path):
    """Four faults; ``python tools/fault_drill.py`` does twenty."""
    command = [sys.executable, str(TOOLS / "fault_drill.py"), "--faults", "4", "--seed", "3"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "drill", "--table", tmp_path / "table.md"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "table.md").read_text().splitlines()
    assert len(rows) == 6 and all(re.search(r"\| exact \|$", row) for row in rows[2:])
