"""A contact sheet shows every clip, with its marks where its points are."""

from dataclasses import replace

import pytest
import torch

from retracker.data.recordings import labelled_clip
from retracker.visualize.palette import PAPER
from retracker.visualize.sheet import NOWHERE, contact_sheet, draw_clip


def clip(num_frames=7, height=60, width=80, num_points=3, name="somewhere/clip"):
    """Points that stay on a black video."""
    xy = torch.stack(
        [torch.linspace(10.5, width - 10.5, num_points), torch.full((num_points,), 20.5)], dim=-1
    )
    tracks = xy[None].expand(num_frames, -1, -1)
    video = torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)
    return labelled_clip(video, tracks, torch.ones(tracks.shape[:2], dtype=torch.bool), name=name)


def coloured(picture):
    """How many pixels are neither grey nor nearly so: those of marks."""
    values = picture.int()
    return int(((values.amax(0) - values.amin(0)) > 60).sum())


@pytest.mark.parametrize("num_frames", [1, 2, 3, 24])
def test_a_sheet_has_one_width_and_grows_with_its_clips(num_frames):
    one = contact_sheet([clip(num_frames)], "heading")
    two = contact_sheet([clip(num_frames)] * 3, "heading")
    assert one.shape[-1] == two.shape[-1] and two.shape[-2] > one.shape[-2]
    assert coloured(one) > 20 and coloured(two) > 2 * coloured(one)


def test_clips_of_any_shape_and_pairs_share_a_sheet():
    clips = [clip(height=200, width=60), clip(2), clip(height=30, width=300), clip(2, height=61, width=47)]
    assert contact_sheet(clips, "heading").dtype == torch.uint8
    assert coloured(contact_sheet([clip(num_points=1)], "heading")) > 20


def test_a_long_name_stays_on_the_sheet():
    plain = contact_sheet([clip(name="short")], "")
    long = contact_sheet([clip(name="long/" * 100 + "end")], "")
    assert long.shape == plain.shape
    margin = long[:, :, -20:]
    assert not (margin == torch.tensor(PAPER, dtype=torch.uint8)[:, None, None]).all(0).any()


def test_a_point_of_unknown_place_is_not_drawn():
    known = clip(3, num_points=1)
    unknown = replace(known, located=torch.zeros(3, 1, dtype=torch.bool), visible=~known.visible)
    assert draw_clip(known, 10, zoom=1).sum() > 0
    assert draw_clip(unknown, 10, zoom=1).sum() == 0 and NOWHERE < 0


def test_hidden_points_of_one_view_do_not_reach_into_the_other():
    pair = clip(2, num_points=1)
    outside = torch.tensor([[[20.5, 20.5]], [[-3.0, 20.5]]])  # its place in view 1 lies left of it: in view 0
    beyond = replace(pair, tracks=outside, visible=torch.tensor([[True], [False]]))
    near, far = (
        contact_sheet([replace(beyond, tracks=torch.tensor([[[20.5, 20.5]], [[x, 20.5]]]))], "h")
        for x in (-3.0, -3000.0)
    )
    left = slice(0, 440)  # the first view
    assert torch.equal(near[..., left], far[..., left])


def test_only_so_many_points_are_drawn_those_seen_longest_first():
    many = clip(4, num_points=40, width=800)
    assert coloured(draw_clip(many, 5, zoom=1)[0]) < coloured(draw_clip(many, 40, zoom=1)[0]) / 2
    visible = many.visible.clone()
    visible[1:, 20:] = False
    flickering = replace(many, visible=visible)
    shown = draw_clip(flickering, 10, zoom=1)
    assert (
        coloured(shown[3]) > 20 and coloured(shown[3, :, :, 420:]) == 0
    )  # those of the right half are hidden


def test_drawing_a_clip_enlarges_it_and_leaves_it_as_it_was():
    small = clip(2)
    before = small.tracks.clone()
    assert draw_clip(small, 10, zoom=3).shape == (2, 3, 180, 240)
    assert torch.equal(small.tracks, before) and small.video.sum() == 0
