"""tools/convert_checkpoint.py keeps what load needs, in either format."""

import runpy
from pathlib import Path

import pytest
import torch

from retracker.checkpoint import load

MAIN = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "convert_checkpoint.py"))["main"]


def test_there_and_back_nothing_changes(tmp_path):
    back, again = tmp_path / "back.ckpt", tmp_path / "again.safetensors"
    assert MAIN(["tiny", str(back)]) == 0
    assert MAIN([str(back), str(again)]) == 0
    first, second, third = load("tiny"), load(back), load(again)
    assert first.config == second.config == third.config
    for net in (second, third):
        pairs = zip(first.state_dict().items(), net.state_dict().items(), strict=True)
        assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_half_is_half_the_size(tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    assert MAIN(["tiny", str(whole)]) == MAIN(["tiny", str(half), "--half"]) == 0
    assert half.stat().st_size < 0.6 * whole.stat().st_size < 16 * 2**20


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [("none.ckpt", "out.safetensors", []), ("tiny", "out.bin", []), ("tiny", "out.ckpt", ["--half"])],
)
def test_a_user_mistake_is_one_line_and_exit_code_2(tmp_path, capsys, source, target, options):
    assert MAIN([source, str(tmp_path / target), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / target).exists()
