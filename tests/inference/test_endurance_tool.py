"""tools/endurance.py: a stream without end, measured, and points that join without a trace."""

import runpy
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from retracker.media.image import read_image

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "endurance.py"))
SIZE = (40, 56)


def test_no_two_frames_of_the_stream_are_alike_and_each_moves_a_little():
    frames = np.stack(list(islice(TOOL["stream"](10**6, SIZE), 60))).astype(float)
    assert frames.shape == (60, *SIZE, 3)
    apart = np.abs(frames[:, None] - frames[None]).mean((2, 3, 4))
    assert (apart + 1000 * np.eye(60) > 1).all()
    assert frames.std((1, 2, 3)).min() > 20  # there is always something to see


def test_the_early_frames_are_compared_with_as_many_late_ones():
    assert TOOL["compared"](5000) == ((100, 600), (4500, 5000))
    assert TOOL["compared"](400) == ((100, 200), (300, 400))
    assert TOOL["compared"](1) == ((1, 2), (0, 1))


def test_memory_is_that_of_a_process_with_torch_in_it():
    assert 2**26 < TOOL["resident_bytes"]() < 2**36


def test_the_tool_reports_draws_and_finds_tracks_the_same_to_the_bit(tmp_path, capsys):
    size = ["--height", str(SIZE[0]), "--width", str(SIZE[1]), "--points", "5"]
    arguments = [*size, "--frames", "8", "--check", "4", "--out", str(tmp_path / "endurance.png")]
    assert TOOL["main"](arguments) == 0
    said = capsys.readouterr().out
    assert "frame 8: " in said and "ms of processor" in said
    assert "100 points born in frame 2 of 4: all tracks are the same to the bit" in said
    assert read_image(tmp_path / "endurance.png").shape[0] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--frames", "0"], "--frames: expected a positive number, got 0"), (["--check", "-1"], "--check")],
)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert TOOL["main"](arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
