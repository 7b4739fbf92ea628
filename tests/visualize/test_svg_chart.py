"""A chart is well-formed, its axis holds the curve, and what is not a number is left out."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from retracker.visualize.svg_chart import HEIGHT, WIDTH, Chart, draw_chart, short, ticks


def parsed(**lines):
    return ElementTree.fromstring(
        draw_chart(Chart(title="a <b> & c", lines=lines, from_zero=False, marks=[3]))
    )


def places(root):
    texts = [e.attrib["points"] for e in root.iter() if e.tag.endswith("polyline")]
    return [tuple(map(float, place.split(","))) for text in texts for place in text.split()]


@pytest.mark.parametrize("low, high", [(0, 1), (0.2, 0.3), (-5, 7000), (3, 3), (0, 0), (1e-9, 4e-9)])
def test_ticks_are_few_and_hold_all_values(low, high):
    found = ticks(low, high)
    assert found[0] <= low + 1e-12 and found[-1] >= high - 1e-12 and 2 <= len(found) <= 7
    assert found == sorted(set(found))


def test_curves_lie_within_the_frame_and_what_is_not_a_number_is_left_out():
    root = parsed(loss=[(1, 2.0), (2, math.nan), (5, -1.0), (9, math.inf), (10, 0.5)])
    found = places(root)
    assert len(found) == 4 and found[-1] == found[-2]  # three values; the last one closes the line
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in found)
    assert found[0][1] < found[1][1]  # larger values are higher up


def test_long_curves_are_thinned_and_end_where_they_end():
    root = parsed(loss=[(step, 1.0) for step in range(10_001)])
    assert len(places(root)) < 600 and max(x for x, _ in places(root)) == WIDTH - 12


def test_nothing_is_drawn_of_nothing():
    assert draw_chart(Chart(title="empty", lines={"loss": [(1, math.nan)]}, from_zero=True)) == ""


@pytest.mark.parametrize(
    "value, text",
    [(0, "0"), (0.12345, "0.123"), (1234, "1234"), (12345, "12.3k"), (2e6, "2M"), (4e-5, "4.0e-5")],
)
def test_numbers_are_short(value, text):
    assert short(value) == text


def test_only_what_goes_up_and_down_is_smoothed():
    warm_up_and_decay = [(step, min(step / 10, 1 - step / 100)) for step in range(100)]
    tremble = [(step, step / 100 + step % 2) for step in range(100)]
    assert len([e for e in parsed(lr=warm_up_and_decay).iter() if e.tag.endswith("polyline")]) == 1
    assert len([e for e in parsed(loss=tremble).iter() if e.tag.endswith("polyline")]) == 2
