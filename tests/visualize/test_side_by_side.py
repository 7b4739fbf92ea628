"""Panels share frame, points and colours; lines lead from points to their truth or to where they were."""

import pytest
import torch

from retracker.visualize.side_by_side import ERROR_COLOUR, GAP_PX, SideBySide, contact_sheet, num_columns
from retracker.visualize.style import TrackStyle
from retracker.visualize.track_lines import GAP_PX as LINES_GAP_PX
from retracker.visualize.track_lines import MOST_LINES, MatchLines, reference_frame
from retracker.visualize.tracks import TrackPainter

GREY = torch.full((3, 60, 80), 40, dtype=torch.uint8)
PLAIN = TrackStyle(dimming=0.0, trail=0)


def painter(xy, visible=True, style=PLAIN, anchors=None, num_frames=2):
    tracks = torch.tensor(xy, dtype=torch.float32)[None].expand(num_frames, -1, -1)
    seen = torch.full(tracks.shape[:2], visible)
    return TrackPainter(tracks, seen, None, style, anchors=anchors)


@pytest.mark.parametrize(
    ("count", "shape"), [(1, (60, 80)), (2, (60, 166)), (3, (126, 166)), (4, (126, 166))]
)
def test_panels_stand_in_a_grid(count, shape):
    panels = {f"tracker {n}": painter([(40.5, 40.5)]) for n in range(count)}
    assert SideBySide(panels=panels).draw(GREY, 0).shape == (3, *shape)


def test_wide_pictures_are_stacked_and_high_ones_stand_in_a_row():
    assert num_columns(2, 100, 400) == 2  # the truth always beside
    assert num_columns(3, 100, 400) == 1 and num_columns(4, 200, 100) == 4
    assert num_columns(3, 100, 178) == num_columns(4, 100, 178) == num_columns(6, 100, 178) == 2


def test_points_have_the_same_colour_in_all_panels():
    anchors = torch.tensor([[10.0, 10.0], [70.0, 50.0]])
    panels = {
        "a": painter([(20.5, 30.5), (60.5, 30.5)], anchors=anchors),
        "b": painter([(30.5, 45.5), (50.5, 15.5)], anchors=anchors),
    }
    picture = SideBySide(panels=panels).draw(GREY, 0)
    right = 80 + GAP_PX
    assert torch.equal(picture[:, 30, 20], picture[:, 45, right + 30])
    assert torch.equal(picture[:, 30, 60], picture[:, 15, right + 50])
    assert not torch.equal(picture[:, 30, 20], picture[:, 30, 60])


def test_red_lines_lead_to_the_truth_in_every_panel_but_its_own():
    panels = {"a": painter([(20.5, 40.5)]), "b": painter([(20.5, 50.5)])}
    picture = SideBySide(panels=panels, truth=painter([(60.5, 40.5)])).draw(GREY, 0)
    assert picture[:, 40, 40].tolist() == pytest.approx(ERROR_COLOUR, abs=20)
    for top, left, is_red in ((0, 0, True), (0, 86, True), (66, 0, False)):
        tile = picture[:, top + 16 : top + 60, left + 30 : left + 50].int()
        assert bool(((tile[0] - tile[1]) > 120).any()) == is_red
    hidden = SideBySide(panels=panels, truth=painter([(60.5, 40.5)], visible=False)).draw(GREY, 0)
    assert not ((hidden[0].int() - hidden[1].int()) > 120)[16:60, 30:50].any()


def test_a_title_that_is_too_long_is_shortened():
    short, long = (
        SideBySide(panels={title: painter([(40.5, 50.5)])}).draw(GREY, 0) for title in ("a", "long " * 50)
    )
    assert short.shape == long.shape and not torch.equal(short, long)
    assert (long[:, :, -2:] == 40).all()


def test_a_contact_sheet_numbers_its_pictures():
    sheet = contact_sheet([GREY, GREY], ["frame 0", "frame 1"])
    assert sheet.shape == (3, 60, 166) and (sheet > 200).any()


def test_match_lines_join_a_point_to_where_it_was():
    tracks = torch.tensor([[[20.5, 20.5]], [[60.5, 50.5]]])
    visible = torch.ones(2, 1, dtype=torch.bool)
    lines = MatchLines(TrackPainter(tracks, visible, style=PLAIN), GREY, 0)
    picture = lines.draw(GREY, 1)
    shift = 80 + LINES_GAP_PX
    assert picture.shape == (3, 60, 160 + LINES_GAP_PX)
    colour = picture[:, 20, 20]
    assert torch.equal(picture[:, 50, shift + 60], colour)
    middle = picture[:, 35, int((20.5 + shift + 60.5) / 2)].int()
    assert (middle - colour.int()).abs().max() < 100 and (middle != 255).any()


def test_a_point_that_is_hidden_now_has_no_line():
    tracks = torch.tensor([[[20.5, 20.5]], [[60.5, 20.5]]])
    visible = torch.tensor([[True], [False]])
    picture = MatchLines(TrackPainter(tracks, visible, style=PLAIN), GREY, 0).draw(GREY, 1)
    assert (picture[:, 20, 40:79] == 40).all()
    skipping = TrackPainter(tracks, visible, style=TrackStyle(dimming=0.0, hidden="skip"))
    assert (MatchLines(skipping, GREY, 0).draw(GREY, 1)[:, 20, 40:79] == 40).all()


def test_of_many_points_some_get_a_line_and_points_unseen_in_the_reference_none():
    tracks = torch.rand(2, 1000, 2) * 50
    visible = torch.ones(2, 1000, dtype=torch.bool)
    visible[0, :500] = False
    lines = MatchLines(TrackPainter(tracks, visible, style=PLAIN), GREY, 0)
    assert len(lines.points) == MOST_LINES and lines.points.min() >= 500
    nobody = MatchLines(TrackPainter(tracks, ~visible & visible, style=PLAIN), GREY, 0)
    assert nobody.draw(GREY, 1).shape == (3, 60, 166)


def test_the_reference_is_the_frame_in_which_most_are_born():
    tracks, visible = torch.zeros(6, 5, 2), torch.ones(6, 5, dtype=torch.bool)
    births = TrackPainter(tracks, visible, torch.tensor([4, 2, 2, 6, 6]))  # 6: never
    assert reference_frame(births) == 2
    assert reference_frame(TrackPainter(tracks[:, :0], visible[:, :0])) == 0
