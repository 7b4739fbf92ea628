"""tools/training_endurance.py finds growth where there is some, and none where there is none."""

import runpy
from pathlib import Path

import pytest
from torch.utils.tensorboard.writer import SummaryWriter

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "training_endurance.py"))


def write(folder, leak):
    writer = SummaryWriter(str(folder))
    for step in range(49, 2000, 50):
        writer.add_scalar("memory/process_mb", 800.0 + (200 if step < 400 else 300) + leak * step, step)
        writer.add_scalar("memory/workers_mb", 500.0, step)
    writer.close()


@pytest.mark.parametrize(("leak", "gained", "slope"), [(0.0, "+0.0", "+0.0"), (0.1, "+145.0", "+100.0")])
def test_it_says_how_much_memory_grew(tmp_path, capsys, leak, gained, slope):
    write(tmp_path, leak)
    assert TOOL["main"](["--read", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"main process: {gained} MiB since step 550, {slope} MiB for 1,000 steps" in said
    assert "its workers: +0.0 MiB" in said and (tmp_path / "memory.png").stat().st_size > 1000


def test_too_little_to_judge_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert TOOL["main"](["--read", str(tmp_path)]) == 2
    assert "at least 4 times" in capsys.readouterr().err
