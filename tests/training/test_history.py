"""What a run has logged is found again, over all of its starts."""

import runpy
from pathlib import Path

from torch.utils.tensorboard.writer import SummaryWriter

from retracker.training.history import read_history

TOOL = Path(__file__).parents[2] / "tools" / "run_summary.py"


def write(directory, steps, value):
    writer = SummaryWriter(str(directory))
    for step in steps:
        writer.add_scalar("train/loss", value, step)
    writer.close()
    [file] = directory.glob("events.*")
    return file


def test_what_a_later_start_takes_again_replaces_what_was_there(tmp_path):
    first = write(tmp_path / "tensorboard/a", range(6), 1.0)
    second = write(tmp_path / "tensorboard/b", range(4, 8), 2.0)
    second.rename(second.with_name(first.name + ".later"))  # files are named by the second they were made in
    expected = [(step, 1.0) for step in range(1, 5)] + [(step, 2.0) for step in range(5, 9)]
    assert read_history(tmp_path) == {"train/loss": expected}


def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    file = write(tmp_path, range(6), 1.0)
    file.write_bytes(file.read_bytes()[:-20])
    assert len(read_history(tmp_path)["train/loss"]) in (4, 5)


def test_a_csv_is_read_where_there_is_no_tensorboard(tmp_path):
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/metrics.csv").write_text("step,epoch,train/loss,val/AJ\n0,0,1.5,\n1,0,,0.25\n")
    assert read_history(tmp_path) == {"train/loss": [(1, 1.5)], "val/AJ": [(2, 0.25)]}


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert runpy.run_path(str(TOOL))["main"]([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "run.json" in said
