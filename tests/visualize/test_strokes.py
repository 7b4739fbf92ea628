"""Marks and strokes lie where they are told to, to a tenth of a pixel, and are seen on any picture."""

import numpy as np
import pytest

from retracker.visualize.colouring import flow_colours
from retracker.visualize.layer import Layer
from retracker.visualize.strokes import Strokes, rasterise

SIZE = (60, 80)
PLACES = [(30.0, 20.0), (30.5, 20.5), (41.3, 33.8), (12.75, 44.1), (60.01, 30.99)]
COLOURS = [(255, 255, 255), (68, 1, 84), (253, 231, 37), (0, 0, 190), (16, 16, 20), (128, 128, 128)]


def light_of(layer, height=SIZE[0], width=SIZE[1]):
    return layer.onto(np.zeros((height, width, 3), np.uint8)).astype(float).sum(-1)


def centre_of(light):
    y, x = np.mgrid[: light.shape[0], : light.shape[1]] + 0.5
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum()


def luma(picture):
    return picture.astype(float) @ (0.299, 0.587, 0.114)


def one(start, end, radius=2.0, opacity=1.0):
    both = np.ones((1, 2))
    ends = (np.array([xy], float) for xy in (start, end))
    tint = np.full((1, 2, 3), 255.0)
    return Strokes(
        **dict(zip(("start", "end"), ends, strict=True)),
        radius=both * radius,
        opacity=both * opacity,
        colour=tint,
    )


@pytest.mark.parametrize("xy", PLACES)
@pytest.mark.parametrize("radius", [2.6, 5.3])
@pytest.mark.parametrize("mark", ["dot", "ring"])
@pytest.mark.parametrize("colour", COLOURS[:3])
def test_a_mark_is_centred_on_its_place(xy, radius, mark, colour):
    layer = Layer(*SIZE)
    getattr(layer, mark)(xy, radius, colour)
    # What is left is the rounding to whole grey levels.
    np.testing.assert_allclose(centre_of(light_of(layer)), xy, atol=0.05)


@pytest.mark.parametrize("start", PLACES)
@pytest.mark.parametrize("radius", [0.5, 1.2, 3.0])
def test_a_stroke_is_centred_between_its_ends(start, radius):
    end = (50.2, 15.7)
    layer = Layer(*SIZE)
    layer.strokes(one(start, end, radius))
    np.testing.assert_allclose(centre_of(light_of(layer)), (np.array(start) + end) / 2, atol=0.1)


def test_a_stroke_in_pieces_is_the_stroke_itself():
    layer = Layer(*SIZE)
    layer.strokes(one((5.2, 7.9), (74.1, 52.3)))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    start, end = np.array([5.2, 7.9]), np.array([74.1, 52.3])
    along = (end - start) / np.linalg.norm(end - start)
    away = np.stack([x, y], -1) - start
    far = (away @ along).clip(0, np.linalg.norm(end - start))
    distance = np.linalg.norm(away - far[..., None] * along, axis=-1)
    expected = 255 * (2.5 - distance).clip(0, 1)
    np.testing.assert_allclose(light_of(layer) / 3, expected, atol=1)


def test_a_stroke_gets_thinner_and_fainter_to_its_end():
    taper = Strokes(
        start=np.array([[10.0, 30.5]]),
        end=np.array([[70.0, 30.5]]),
        radius=np.array([[4.0, 1.0]]),
        opacity=np.array([[1.0, 0.2]]),
        colour=np.array([[[255.0, 0, 0], [0, 0, 255.0]]]),
    )
    layer = Layer(*SIZE)
    layer.strokes(taper)
    picture = layer.onto(np.zeros((*SIZE, 3), np.uint8)).astype(int)
    width = (picture.sum(-1) > 0).sum(0)
    assert width[15] > width[40] > width[65]
    assert picture[30, 15].sum() > picture[30, 40].sum() > picture[30, 65].sum()
    assert picture[30, 12, 0] > 5 * picture[30, 12, 2] and picture[30, 68, 2] > 5 * picture[30, 68, 0]


def test_crossing_strokes_do_not_darken_one_another():
    a, b = one((10, 10), (60, 50), opacity=0.5), one((10, 50), (60, 10), opacity=0.5)
    both = Strokes(**{f: np.concatenate([getattr(s, f) for s in (a, b)]) for f in a.__dataclass_fields__})
    layer = Layer(*SIZE)
    layer.strokes(both)
    assert light_of(layer).max() <= 3 * 128


def test_strokes_outside_the_picture_leave_nothing_and_endless_ones_cross_it():
    away = [one((-1e9, -50), (1e9, -50)), one((200, 10), (300, 20)), one((-1e9, 1e9), (-1e8, 1e9))]
    assert all(len(ink.row) == 0 for strokes in away for ink in rasterise(strokes, *SIZE))
    layer = Layer(*SIZE)
    layer.strokes(one((-1e7, 30.5), (1e7, 30.5)))
    assert (light_of(layer)[30] == 3 * 255).all()


@pytest.mark.parametrize("background", [0, 255, 128])
@pytest.mark.parametrize("mark", ["dot", "ring"])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_mark_of_any_colour_stands_out_from_any_picture(background, mark, colour):
    layer = Layer(*SIZE)
    getattr(layer, mark)((40.3, 30.2), 4.0, colour)
    difference = np.abs(luma(layer.onto(np.full((*SIZE, 3), background, np.uint8))) - background)
    assert (difference > 30).sum() > 20


def test_the_colours_of_flow_are_those_of_the_wheel():
    right, down, left, none = flow_colours(np.array([[1.0, 0], [0, 1.0], [-1.0, 0], [0, 0]]))
    assert right[0] == 255 and right[1:].max() < 40  # red
    assert down[:2].min() > 200 and down[2] == 0  # yellow
    assert left[1:].min() > 150 and left[0] == 0  # between cyan and blue
    assert (none == 255).all()
    far = flow_colours(np.array([3.0, 0.0]))
    assert far[0] == pytest.approx(0.75 * 255)
