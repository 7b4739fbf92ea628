"""Curves over thresholds are drawn, the same way each time."""

import math

import pytest
import torch

from retracker.media.image import read_image
from retracker.visualize.curves import CHOSEN, PANEL, Panel, draw, write_curves

LINES = {"stay": [0.1, 0.2, 0.3, 0.4, 0.5], "ReTracker": [0.5, 0.6, 0.7, 0.8, 0.9]}


def panel(title="found within", thresholds=(1, 2, 4, 8, 16), lines=LINES):
    return Panel(title=title, thresholds=thresholds, unit="px", lines=lines)


def test_the_same_numbers_make_the_same_file(tmp_path):
    paths = [write_curves(tmp_path / name, "title", [panel(), panel()]) for name in ("a.png", "b.png")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"atplotlib" not in paths[0].read_bytes()
    other = write_curves(tmp_path / "c.png", "title", [panel(), panel(lines=LINES | {"stay": [0.0] * 5})])
    assert other.read_bytes() != paths[0].read_bytes()


def test_panels_stand_side_by_side(tmp_path):
    one, two = (read_image(write_curves(tmp_path / f"{n}.png", "title", [panel()] * n)).shape for n in (1, 2))
    assert one[0] == two[0] == 3 and one[1] == two[1] and two[2] == 2 * one[2]
    assert one[2] / one[1] == pytest.approx(PANEL[0] / PANEL[1], rel=0.01)


def test_ours_is_drawn_in_its_colour(tmp_path):
    picture = read_image(write_curves(tmp_path / "a.png", "title", [panel()]))
    ours = torch.tensor([int(CHOSEN[i : i + 2], 16) for i in (1, 3, 5)], dtype=torch.uint8)
    assert (picture == ours[:, None, None]).all(0).sum() > 500


def test_lines_ticks_and_legend_are_those_of_the_numbers():
    [axes] = draw("title", [panel()]).axes
    assert [line.get_label() for line in axes.lines] == ["stay", "ReTracker"]
    assert [list(line.get_ydata()) for line in axes.lines] == list(LINES.values())
    assert axes.lines[1].get_linewidth() > axes.lines[0].get_linewidth()
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ReTracker", "stay"]
    assert list(axes.get_xticks()) == [1, 2, 4, 8, 16] and axes.get_xscale() == "log"
    assert axes.get_ylim() == (0, 1) and axes.get_xlabel() == "threshold (px)"


def test_thresholds_at_even_steps_have_an_even_axis_with_few_ticks():
    many = panel(thresholds=tuple(range(1, 21)), lines={"sift": [0.5] * 20})
    [axes] = draw("title", [many]).axes
    assert list(axes.get_xticks()) == [5, 10, 15, 20] and axes.get_xscale() == "linear"


def test_a_long_title_takes_two_lines():
    figure = draw("word " * 20, [panel()])
    assert figure.get_suptitle().count("\n") == 1
    assert draw("word " * 20, [panel()] * 2).get_suptitle().count("\n") == 0


def test_a_number_that_is_missing_leaves_a_gap(tmp_path):
    gap = panel(lines={"ReTracker": [0.1, math.nan, 0.3, 0.4, 0.5]})
    assert write_curves(tmp_path / "a.png", "title", [gap]).exists()


def test_what_cannot_be_drawn_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="expected 5 values of ReTracker, got 4"):
        write_curves(tmp_path / "a.png", "title", [panel(lines={"ReTracker": [0.1] * 4})])
    with pytest.raises(ValueError, match="at least one panel"):
        write_curves(tmp_path / "a.png", "title", [])
    with pytest.raises(ValueError, match="a line in each"):
        write_curves(tmp_path / "a.png", "title", [panel(lines={})])
    assert list(tmp_path.iterdir()) == []
