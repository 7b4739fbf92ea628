"""What a style asks for is what is drawn."""

import pytest
import torch

from retracker.visualize.colouring import SCALES, SHADES, View
from retracker.visualize.style import TrackStyle
from retracker.visualize.tracks import TrackPainter

BLACK = torch.zeros(3, 60, 80, dtype=torch.uint8)


def walk(num_frames=9, start=8.5, end=72.5, y=30.5):
    """One point that walks to the right. Float[T 1 2], Bool[T 1]"""
    x = torch.linspace(start, end, num_frames)
    return torch.stack([x, torch.full_like(x, y)], dim=-1)[:, None], torch.ones(
        num_frames, 1, dtype=torch.bool
    )


def painted(tracks, visible, t, first=None, confidence=None, image=BLACK, **style):
    return TrackPainter(tracks, visible, first, TrackStyle(legend=False, **style), confidence).draw(image, t)


@pytest.mark.parametrize("zoom", [1, 2, 3])
@pytest.mark.parametrize("xy", [(30.0, 20.0), (41.3, 33.8), (12.75, 44.1)])
@pytest.mark.parametrize("hidden", ["ring", "dot"])
def test_a_mark_lies_on_its_place_at_every_zoom(zoom, xy, hidden):
    tracks, nowhere = torch.tensor([[xy]]), torch.zeros(1, 1, dtype=torch.bool)
    light = painted(tracks, nowhere, 0, zoom=zoom, hidden=hidden, dimming=0.0).double().sum(0)
    y, x = torch.meshgrid(*(torch.arange(side) + 0.5 for side in light.shape), indexing="ij")
    centre = torch.stack([(x * light).sum(), (y * light).sum()]) / light.sum()
    torch.testing.assert_close(centre / zoom, torch.tensor(xy).double(), atol=0.05, rtol=0)


def test_hidden_points_are_hollow_filled_or_left_out():
    tracks, visible = walk(1, 40.5, 40.5)
    middle = {
        hidden: int(painted(tracks, ~visible, 0, hidden=hidden)[:, 30, 40].sum())
        for hidden in ("ring", "dot", "skip")
    }
    seen = int(painted(tracks, visible, 0)[:, 30, 40].sum())
    assert middle["dot"] == seen > 300 > middle["ring"]
    assert painted(tracks, ~visible, 0, hidden="skip").sum() == 0


def test_a_point_that_is_left_out_leaves_no_trail_either():
    tracks, visible = walk()
    visible[8] = False
    assert painted(tracks, visible, 8).sum() > painted(tracks, visible, 8, trail=0).sum() > 0
    assert painted(tracks, visible, 8, hidden="skip").sum() == 0


@pytest.mark.parametrize(("trail", "reached"), [(0, 72), (2, 56), (None, 8)])
def test_a_trail_reaches_back_as_far_as_asked_and_ends_in_the_mark(trail, reached):
    tracks, visible = walk()
    row = painted(tracks, visible, 8, trail=trail)[:, 30].sum(0)
    lit = row.nonzero().flatten()
    assert abs(int(lit.min()) - reached) <= 5
    assert len(lit) == int(lit.max() - lit.min()) + 1  # without a gap up to the mark


def test_a_whole_trail_begins_at_birth():
    tracks, visible = walk()
    row = painted(tracks, visible, 8, first=torch.tensor([4]), trail=None)[:, 30].sum(0)
    assert row[:36].sum() == 0 and row[42] > 0


def test_marks_grow_with_their_size():
    tracks, visible = walk(1, 40.5, 40.5)
    areas = [int((painted(tracks, visible, 0, size=size).sum(0) > 0).sum()) for size in (0.5, 1.0, 2.0)]
    assert areas[0] < areas[1] < areas[2] and 2.5 < areas[2] / areas[1] < 4.5


def test_colour_by_confidence_runs_from_blue_to_yellow():
    tracks, visible = walk(1, 40.5, 40.5)
    low, high = (
        painted(tracks, visible, 0, confidence=torch.tensor([[c]]), colour="confidence")[:, 30, 40].tolist()
        for c in (0.0, 1.0)
    )
    assert low[2] > low[0] and high[0] > 150 and high[1] > 150 > high[2]
    with pytest.raises(ValueError, match="expected confidence beside the tracks"):
        painted(tracks, visible, 0, colour="confidence")


def test_colour_by_motion_tells_the_direction_and_points_at_rest_are_white():
    tracks, visible = walk()
    still = torch.cat([tracks, torch.full((9, 1, 2), 10.5)], dim=1)
    picture = painted(still, visible.expand(-1, 2), 4, colour="motion", trail=0)
    assert picture[:, 10, 10].tolist() == [255, 255, 255]
    red, green, blue = picture[:, 30, 40].tolist()
    assert red > 180 and max(green, blue) < 60
    backward = painted(still.flip(0), visible.expand(-1, 2), 4, colour="motion", trail=0)[:, 30, 40].tolist()
    assert backward[0] == 0 and backward[2] > 150


def test_travel_is_measured_from_birth():
    tracks, visible = walk()
    painter = TrackPainter(tracks, visible, torch.tensor([3]), TrackStyle(colour="travel"))
    assert painter.scene.travel[:, 0, 0].tolist() == pytest.approx([0, 0, 0, 0, 8, 16, 24, 32, 40])
    assert painter.scale.labels == ("38 px since birth",)  # 95 of 100 seen points have gone no further


def test_colour_by_time_runs_along_the_trail():
    tracks, visible = walk()
    picture = painted(tracks, visible, 8, colour="time", trail=None)
    past, present = picture[:, 30, 20].tolist(), picture[:, 30, 72].tolist()
    assert past[2] > past[1] and present[1] > 150 > present[2]


@pytest.mark.parametrize("colour", SHADES)
@pytest.mark.parametrize(("num_frames", "num_points"), [(1, 3), (4, 0), (3, 2)])
def test_every_colouring_takes_any_number_of_points_and_frames(colour, num_frames, num_points):
    tracks = torch.rand(num_frames, num_points, 2) * 50
    visible = torch.ones(num_frames, num_points, dtype=torch.bool)
    first = torch.full((num_points,), num_frames)  # nobody was ever looked for
    for born in (None, first):
        picture = painted(
            tracks, visible, num_frames - 1, born, visible.float(), colour=colour, compensate=True, trail=None
        )
        assert picture.shape == BLACK.shape
        assert bool(picture.any()) == (born is None and num_points > 0)


@pytest.mark.parametrize("colour", SCALES)
def test_a_legend_stands_in_the_corner_unless_it_is_not_wanted_or_does_not_fit(colour):
    tracks, visible = walk()
    large = torch.full((3, 300, 400), 200, dtype=torch.uint8)
    shown, bare = (
        TrackPainter(tracks, visible, None, TrackStyle(colour=colour, legend=legend), visible.float()).draw(
            large, 8
        )
        for legend in (True, False)
    )
    different = (shown != bare).any(0).nonzero()
    assert len(different) > 500 and different[:, 0].min() > 200 and different[:, 1].min() > 150
    tiny = TrackPainter(tracks, visible, None, TrackStyle(colour=colour), visible.float())
    assert torch.equal(tiny.draw(large[:, :24, :60], 8), painted_like(tiny, large[:, :24, :60], 8))


def painted_like(painter, image, t):
    bare = TrackPainter(
        torch.from_numpy(painter.scene.tracks),
        torch.from_numpy(painter.scene.visible),
        None,
        TrackStyle(colour=painter.style.colour, legend=False),
        torch.ones(painter.scene.visible.shape),
    )
    return bare.draw(image, t)


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ({"colour": "mood"}, "colour: expected one of point, time, confidence, motion, travel, got 'mood'"),
        ({"hidden": "cross"}, "hidden: expected one of ring, dot, skip, got 'cross'"),
        ({"trail": -1}, "trail: expected a number of frames, got -1"),
        ({"zoom": 0}, "zoom: expected a whole factor from 1 on, got 0"),
        ({"size": 0.0}, "size: expected a positive factor, got 0.0"),
        ({"dimming": 1.5}, "dimming: expected a share from 0 to 1, got 1.5"),
    ],
)
def test_a_style_that_cannot_be_drawn_is_refused(style, message):
    with pytest.raises(ValueError, match=message):
        TrackStyle(**style)


def test_a_view_counts_its_frames_up_to_now():
    assert View(oldest=3, now=5, height=1, width=1).frames.tolist() == [3, 4, 5]
