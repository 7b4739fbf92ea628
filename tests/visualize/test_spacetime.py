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


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("place", [(40.0, -8.0), (5000.0, 10.0), (float("nan"), 10.0), (40.0, float("inf"))])
def test_what_is_said_of_places_beside_the_frame_is_not_drawn(place, seen):
    visible = torch.full((FRAMES, 1), seen)
    outside = block(still(*place), visible=visible, colour="motion", legend=False).draw(40.0)
    assert torch.equal(outside, block().draw(40.0))


def test_a_sheet_hides_the_paths_behind_it_and_not_those_before():
    """Two still points, seen from the front: one path ends in the last sheet, behind the other two."""
    empty, with_path = (block(path, turns=(15.0, 15.0)).draw(15.0) for path in (None, still(70.0, 30.0)))
    changed = (with_path != empty).any(0)
    behind = where(block(turns=(15.0, 15.0)), 15.0, 70, 30, 1)  # the first sheet is before it
    assert shown(block(turns=(15.0, 15.0)), 15.0, 70, 30, 1) == COLOURS[0]
    assert not changed[behind[1], behind[0]]
    before = where(block(turns=(15.0, 15.0)), 15.0, 70, 30, 3)  # the second one is behind it
    assert tuple(empty[:, before[1], before[0]].tolist()) == COLOURS[1]
    assert changed[before[1], before[0]]


def test_of_paths_that_cross_the_nearer_one_is_on_top():
    """From 40 degrees what the right point does early stands before what the left one does later."""
    how = {"turns": (40.0, 40.0), "times": (0, 8), "size": 3.0}
    left = torch.stack([torch.full((FRAMES,), 10.0), torch.linspace(58, 2, FRAMES)], dim=-1)[:, None]
    scenes = [block(path, **how) for path in (still(70.0, 8.0), left)]
    right_alone, left_alone = (scene.draw(40.0) for scene in scenes)
    both = block(torch.cat([still(70.0, 8.0), left], dim=1), **how).draw(40.0)
    pure = [torch.from_numpy(scene._colours[0, 0])[:, None, None] for scene in scenes]
    cores = [
        (picture - own).abs().amax(0) < 2
        for picture, own in zip((right_alone, left_alone), pure, strict=True)
    ]
    cross = cores[0] & cores[1]
    assert cross.sum() > 5
    assert (both == right_alone).all(0)[cross].float().mean() > 0.9


def test_fine_stripes_become_grey_not_a_pattern_that_flickers():
    stripes = (torch.arange(3000) % 6 < 3).to(torch.uint8)[None, None] * 255
    sheet = stripes.expand(3, 2000, -1)[None].expand(2, -1, -1, -1)
    painter = TrackPainter(
        torch.zeros(2, 0, 2), torch.ones(2, 0, dtype=torch.bool), None, TrackStyle(dimming=0.0)
    )
    scene = SpaceTime(painter, sheet, (0, 1), (30.0, 30.0), 400)
    column, row = scene.size[1] // 4, scene.size[0] // 2
    part = scene.draw(30.0)[:, row - 20 : row + 20, column - 20 : column + 20].float()
    assert part.std() < 12 and 120 < part.mean() < 136


def test_colours_of_time_run_from_the_first_sheet_to_the_last():
    styles = {"colour": "time", "legend": False}
    whole = block(still(), times=(0, 8), **styles)
    part = block(still(), times=(3, 5), **styles)
    for scene in (whole, part):
        np.testing.assert_array_equal(scene._colours[[0, -1]], whole._colours[[0, -1]])


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
        block(turns=(120.0, 120.0))
    with pytest.raises(ValueError, match="turn: expected 40 to 40 degrees, got 50"):
        block().draw(50.0)
    with pytest.raises(ValueError, match="expected a zoom of 1, got 2"):
        block(zoom=2)
