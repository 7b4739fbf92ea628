"""Marks land where the points are, and what should not be drawn is not."""

import numpy as np
import pytest
import torch

from retracker.types import Grid
from retracker.visualize.canvas import rainbow
from retracker.visualize.heat_map import draw_heat_map
from retracker.visualize.matches import confidence_colours, draw_matches
from retracker.visualize.palette import INK, rim_colours
from retracker.visualize.side_by_side import draw_side_by_side
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter, draw_tracks


def still(xy, num_frames=3):
    """Tracks that stay where they are. Float[T N 2], Bool[T N]"""
    tracks = torch.tensor(xy)[None].expand(num_frames, -1, -1)
    return tracks, torch.ones(tracks.shape[:2], dtype=torch.bool)


def black(num_frames=3, height=60, width=80):
    return torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)


def centre_of_light(image):
    """The brightness-weighted mean position, raster px."""
    light = image.float().sum(0)
    y, x = torch.meshgrid(torch.arange(light.shape[0]), torch.arange(light.shape[1]), indexing="ij")
    return torch.stack([((x + 0.5) * light).sum(), ((y + 0.5) * light).sum()]) / light.sum()


@pytest.mark.parametrize("xy", [(30.0, 20.0), (30.5, 20.5), (41.3, 33.8)])
@pytest.mark.parametrize("visible", [True, False])
def test_a_mark_is_centred_on_its_raster_position(xy, visible):
    tracks, seen = still([xy], 1)
    picture = draw_tracks(black(1), tracks, seen & visible)[0]
    # OpenCV rounds to sixteenths of a pixel and its antialiasing is not quite symmetric.
    torch.testing.assert_close(centre_of_light(picture), torch.tensor(xy), atol=0.2, rtol=0)


def test_a_hidden_point_is_hollow():
    tracks, seen = still([(30.5, 20.5)], 1)
    filled, hollow = (draw_tracks(black(1), tracks, seen & v)[0, :, 20, 30].sum() for v in (True, False))
    assert filled > 300 and hollow < filled / 3


def test_drawing_leaves_the_video_as_it_was():
    video = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    before = video.clone()
    draw_tracks(video, *still([(20.0, 20.0)], 2))
    assert torch.equal(video, before)


def test_a_point_is_not_drawn_before_it_is_born():
    tracks, seen = still([(30.0, 20.0)])
    pictures = draw_tracks(black(), tracks, seen, first_frame=torch.tensor([1]))
    assert pictures[0].sum() == 0 and pictures[1].sum() > 0


def test_a_trail_fades_with_age_and_stops_where_the_point_was_hidden():
    tracks = torch.stack([torch.linspace(8.5, 72.5, 9), torch.full((9,), 30.5)], dim=-1)[:, None]
    seen = torch.ones(9, 1, dtype=torch.bool)
    row = draw_tracks(black(9), tracks, seen, trail=8)[8, :, 30].float().amax(0)
    assert row[10] < row[30] < row[50]
    seen[2] = False
    broken = draw_tracks(black(9), tracks, seen, trail=8)[8, :, 30].float().amax(0)
    assert broken[20] == 0 and broken[50] == row[50]
    assert draw_tracks(black(9), tracks, seen, trail=0)[8, :, 30, :60].sum() == 0


def test_points_far_outside_the_frame_do_no_harm():
    tracks, seen = still([(1e9, -1e9), (-3.0, 5.0)])
    assert draw_tracks(black(), tracks, seen).shape == (3, 3, 60, 80)


def test_no_points_leave_only_the_dimmed_video():
    video = torch.full((1, 3, 20, 20), 200, dtype=torch.uint8)
    none, seen = torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.bool)
    assert torch.equal(draw_tracks(video, none, seen, dimming=0.0), video)
    assert (draw_tracks(video, none, seen, dimming=0.5) < video).all()


def test_zoom_enlarges_picture_and_positions_alike():
    tracks, seen = still([(30.0, 20.0)], 1)
    picture = TrackPainter(tracks, seen, style=TrackStyle(zoom=3)).draw(black(1)[0], 0)
    assert picture.shape == (3, 180, 240)
    torch.testing.assert_close(centre_of_light(picture), torch.tensor([90.0, 60.0]), atol=0.2, rtol=0)


def test_the_error_line_leads_from_the_prediction_to_the_truth():
    tracks, seen = still([(20.0, 30.0)], 1)
    picture = draw_side_by_side(black(1), tracks, seen, tracks + torch.tensor([30.0, 0.0]), seen)[0]
    zoom = picture.shape[1] // 60
    red, green = picture[:2, 30 * zoom, 40 * zoom].tolist()
    assert red > 150 > green
    assert picture.shape[2] > 2 * 80 * zoom


def test_the_heat_is_where_the_cell_is():
    grid = Grid(rows=10, columns=12, stride=8.0, offset=3.5)
    cells = torch.zeros(120)
    cells[4 * 12 + 7] = 12.0  # its centre lies at (59.5, 35.5)
    away = torch.tensor([5.0, 70.0])
    picture = draw_heat_map(black(1, 80, 96)[0], cells, grid, 0.25, away, away)
    zoom = picture.shape[2] // 96
    warmth = picture[0, : 60 * zoom].float()  # above the marks
    row, column = divmod(int(warmth.argmax()), warmth.shape[1])
    assert abs((column + 0.5) / zoom - 59.5) < 1.5 and abs((row + 0.5) / zoom - 35.5) < 1.5


def test_the_dustbins_bar_grows_with_its_probability():
    grid, spot = Grid(rows=4, columns=4, stride=8.0, offset=4.0), torch.tensor([16.0, 16.0])
    bars = []
    for probability in (0.0, 0.5, 1.0):
        picture = draw_heat_map(black(1, 32, 32)[0], torch.zeros(16), grid, probability, spot, spot)
        bars.append(int(((picture[0] == 255) & (picture[1] == 140) & (picture[2] == 60)).sum()))
    assert bars[0] == 0 < bars[1] < bars[2] and abs(bars[2] - 2 * bars[1]) < 0.1 * bars[2]


def test_matches_join_both_images_and_count_all():
    a, b = black(1, 60, 80)[0], black(1, 40, 100)[0]
    points = torch.tensor([[10.0, 10.0]]).expand(300, -1)
    picture = draw_matches(a, b, points, points, torch.ones(300), max_lines=20)
    assert picture.shape[2] > 180 and picture.shape[1] > 60
    red, green, _ = picture[:, 10, 40].tolist()
    assert green > red + 50
    empty = draw_matches(a, b, points[:0], points[:0], torch.ones(0))
    assert empty.shape == picture.shape


def test_sure_matches_are_green_and_unsure_ones_red():
    low, middle, high = confidence_colours(np.array([0.0, 0.5, 1.0]))
    assert low[0] > low[1] and high[1] > high[0] and abs(middle[0] - middle[1]) < 20


def test_every_points_own_colour_gets_a_dark_rim_lest_a_dot_look_like_a_ring():
    places = np.stack(np.meshgrid(np.arange(0.5, 64, 4), np.arange(0.5, 48, 2)), axis=-1).reshape(-1, 2)
    colours = np.array(rainbow(places, 48, 64), float)
    assert (rim_colours(colours) == INK).all()
    assert len(np.unique(colours, axis=0)) > 100  # still told apart
