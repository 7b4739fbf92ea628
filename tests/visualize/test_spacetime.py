"""The block of space and time: what is where, what hides what, and paths that run from sheet to sheet."""

from math import cos, radians, sin

import cv2
import numpy as np
import pytest
import torch

from retracker.visualize.spacetime import AWAY, DEPTH, TILT, TURNS, Eye, SpaceTime
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter

HEIGHT, WIDTH, FRAMES = 60, 80, 9
COLOURS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def sheets(count=3):
    colours = torch.tensor(COLOURS[:count], dtype=torch.uint8)
    return colours[:, :, None, None].expand(-1, -1, HEIGHT, WIDTH)


def block(tracks=None, visible=None, times=(0, 4, 8), turns=(40.0, 40.0), first=None, **style):
    """Three sheets of one colour each, and by default no point at all."""
    tracks = torch.zeros(FRAMES, 0, 2) if tracks is None else tracks
    visible = torch.ones(tracks.shape[:2], dtype=torch.bool) if visible is None else visible
    painter = TrackPainter(tracks, visible, first, TrackStyle(trail=None, dimming=0.0, **style))
    return SpaceTime(painter, sheets(len(times)), times, turns, 400)


def still(x=40.0, y=10.0):
    return torch.tensor([x, y]).expand(FRAMES, 1, 2).clone()


def where(scene, turn, x, y, frame):
    """The pixel (column, row) that shows raster px (x, y) of a frame."""
    eye = Eye(turn=turn, zoom=scene._eye.zoom, middle=scene._eye.middle)
    place = np.array([(x - WIDTH / 2) / WIDTH, (y - HEIGHT / 2) / WIDTH, DEPTH * (frame / 8 - 0.5)])
    return np.floor(eye.see(place[None])[0][0]).astype(int).tolist()


def shown(scene, turn, x, y, frame):
    column, row = where(scene, turn, x, y, frame)
    return tuple(scene.draw(turn)[:, row, column].tolist())


def test_the_eye_sees_as_worked_out_by_hand():
    places = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 1.0]])
    xy, scale = Eye(turn=0.0, zoom=100.0, middle=(7.0, 9.0)).see(places)
    far = cos(radians(TILT))
    np.testing.assert_allclose(xy[0], [7, 9])
    np.testing.assert_allclose(xy[1], [57, 9])
    np.testing.assert_allclose(xy[2], [7, 9 - 100 * sin(radians(TILT)) * AWAY / (AWAY + far)])
    np.testing.assert_allclose(scale, [100, 100, 100 * AWAY / (AWAY + far)])
    aside, _ = Eye(turn=60.0).see(places)
    assert aside[2, 0] == pytest.approx(sin(radians(60)) * AWAY / (AWAY + cos(radians(60)) * far))


@pytest.mark.parametrize("turn", [0.0, 15.0, 40.0, 75.0])
def test_nearer_sheets_hide_farther_ones(turn):
    """Of places on the last sheet: each shows the nearest of the sheets that lie over it."""
    scene = block(turns=(turn, turn))
    picture = scene.draw(turn)
    rims = [
        np.array([where(scene, turn, x, y, t) for x, y in ((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT))])
        for t in (0, 4, 8)
    ]
    found = set()
    for x, y in [(x, y) for x in range(3, WIDTH, 7) for y in range(3, HEIGHT, 7)]:
        column, row = where(scene, turn, x, y, 8)
        depths = [
            cv2.pointPolygonTest(rim.astype(np.float32), (column, row), measureDist=True) for rim in rims
        ]
        if min(abs(depth) for depth in depths) > 3:
            nearest = [depth > 0 for depth in depths].index(True)
            assert tuple(picture[:, row, column].tolist()) == COLOURS[nearest]
            found.add(nearest)
    assert 2 in found and (0 in found or turn >= 40)


def test_the_whole_block_is_in_every_picture_of_a_film_and_all_have_one_size():
    scene = block(turns=TURNS)
    high, wide = scene.size
    assert max(high, wide) == 400 and high % 2 == wide % 2 == 0
    for turn in np.linspace(*TURNS, 9).tolist():
        picture = scene.draw(turn)
        assert picture.shape == (3, high, wide)
        border = torch.cat([picture[:, 0], picture[:, -1], picture[:, :, 0], picture[:, :, -1]], dim=1)
        assert (border == 255).all() and (picture < 255).any()


def middle_of(path, turn=70.0, **how):
    """The colour halfway between two sheets, seen so far from the side that nothing is before it."""
    return shown(block(path, turns=(turn, turn), **how), turn, 40, 10, 2)


def test_paths_run_between_sheets_faint_where_hidden_and_not_before_birth():
    never = torch.zeros(FRAMES, 1, dtype=torch.bool)
    seen = middle_of(still())
    empty = middle_of(None)
    assert empty == (255, 255, 255) and max(seen) - min(seen) > 100
    faint = middle_of(still(), visible=never)
    assert sum(seen) < sum(faint) < sum(empty)
    assert middle_of(still(), visible=never, hidden="skip") == empty
    assert middle_of(still(), visible=never, hidden="dot") == seen
    assert middle_of(still(), first=torch.tensor([4])) == empty


def test_a_guess_beside_the_frame_is_not_drawn():
    never = torch.zeros(FRAMES, 1, dtype=torch.bool)
    outside = block(still(y=-8.0), visible=never).draw(40.0)
    assert torch.equal(outside, block().draw(40.0))


def test_marks_lie_on_the_sheets():
    with_point, without = (block(tracks).draw(40.0) for tracks in (still(), None))
    for frame in (0, 4, 8):
        column, row = where(block(), 40.0, 40, 10, frame)
        assert (with_point[:, row, column] != without[:, row, column]).any()


@pytest.mark.parametrize("times", [(3,), (4, 4), (8, 0)])
def test_sheets_must_be_two_and_in_order(times):
    with pytest.raises(ValueError, match="two frames or more, in order"):
        block(times=times)


def test_a_block_cannot_be_seen_from_behind():
    with pytest.raises(ValueError, match="turn: expected 0 to 80 degrees, got 120"):
        block().draw(120.0)
