"""Verified matches and warps as pictures."""

import numpy as np
import torch

from retracker.visualize.matches import (
    INLIER,
    OUTLIER,
    confidence_colours,
    draw_matches,
    draw_verified,
    readable,
    readable_height,
)
from retracker.visualize.warp import GAP_PX, draw_warp


def colour_at(picture, x, y):
    return tuple(picture[:, y, x].tolist())


def test_inliers_are_green_and_others_red():
    grey = torch.full((3, 100, 100), 60, dtype=torch.uint8)
    points = torch.tensor([[20.5, 20.5], [80.5, 70.5]])
    picture = draw_verified(grey, grey, points, points, torch.tensor([False, True]), geometry="homography")
    assert colour_at(picture, 20, 20) == OUTLIER and colour_at(picture, 80, 70) == INLIER
    assert picture.shape[1] > 100 and picture.shape[2] == 208
    nothing = draw_verified(grey, grey, points[:0], points[:0], torch.zeros(0).bool(), geometry="homography")
    assert nothing.shape == picture.shape


def test_images_of_a_few_columns_can_be_drawn():
    sliver, points = torch.zeros(3, 960, 4, dtype=torch.uint8), torch.zeros(1, 2)
    picture = draw_matches(sliver, sliver, points, points, torch.ones(1))
    assert picture.shape[2] == 16 and picture.shape[1] > 960
    assert draw_warp(sliver, sliver, torch.zeros(960, 4, 2), torch.ones(960, 4)).shape[2] == 28


def test_a_single_match_is_drawn():
    grey, point = torch.full((3, 100, 100), 60, dtype=torch.uint8), torch.tensor([[20.5, 20.5]])
    sure = draw_matches(grey, grey, point, point, torch.ones(1))
    inlier = draw_verified(grey, grey, point, point, torch.tensor([True]), geometry="homography")
    assert colour_at(sure, 20, 20) == confidence_colours(np.ones(1))[0]
    assert colour_at(inlier, 20, 20) == colour_at(inlier, 128, 20) == INLIER


def test_small_large_and_wide_images_are_brought_to_a_readable_size():
    small, large, wide = (torch.zeros(3, *s, dtype=torch.uint8) for s in ((20, 30), (3000, 2000), (90, 900)))
    assert readable_height(small, small) == 360 and readable_height(small, large) == 960
    shown, moved = readable(small, torch.tensor([[15.0, 10.0], [30.0, 20.0]]), 400)
    assert shown.shape == (3, 400, 600) and moved.tolist() == [[300.0, 200.0], [600.0, 400.0]]
    assert readable(large, torch.zeros(0, 2), 960)[0].shape == (3, 960, 640)
    assert readable(wide, torch.zeros(0, 2), 400)[0].shape == (3, 80, 800)


def test_a_warp_shows_what_it_found_as_far_as_it_is_certain():
    a, b = torch.zeros(3, 60, 80, dtype=torch.uint8), torch.zeros(3, 30, 40, dtype=torch.uint8)
    b[0, :, 20:] = 240  # the right half is red
    y, x = torch.meshgrid(torch.arange(60) + 0.5, torch.arange(80) + 0.5, indexing="ij")
    positions = torch.stack([x / 2, y / 2], dim=-1)  # b is a at half the size
    certainty = torch.ones(60, 80)
    certainty[30:] = 0
    picture = draw_warp(a, b, positions, certainty)
    start = 80 + GAP_PX  # of the second panel
    assert picture.shape[2] == 3 * 80 + 2 * GAP_PX
    assert colour_at(picture, start + 70, 10) == (240, 0, 0) and colour_at(picture, start + 10, 10) == (
        0,
        0,
        0,
    )
    assert colour_at(picture, start + 70, 50) == (40, 40, 40)
    sure, unsure = (sum(colour_at(picture, 2 * start + 40, y)) for y in (10, 50))
    assert sure > 500 and unsure < 30
