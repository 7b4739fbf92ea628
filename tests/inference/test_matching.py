"""Matching as users ask for it: back and forth, in images of any shape, sampled, kept, dense."""

import os

import numpy as np
import pytest
import skimage.data
import torch

import retracker
from retracker.inference import image_encoder
from retracker.inference.corners import corner_points
from retracker.inference.image_encoder import ImageEncoder, textured
from retracker.inference.pair import PairMatcher, match
from retracker.inference.sampling import balanced_sample, densities
from retracker.inference.two_views import TwoViews, grid_points
from retracker.inference.warp import Warp, warp
from retracker.media.image import write_image


@pytest.fixture(scope="module")
def tiny():
    return retracker.load("tiny")


@pytest.fixture(scope="module")
def photo():
    """A photograph of 512 x 512 px. UInt8[3 H W]"""
    return torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)


@pytest.fixture
def bold(model):
    """The net with random weights, which calls every point visible."""
    model.visible_threshold = -1.0
    return model


def count_encoded(model, monkeypatch):
    """A list that grows with each image that the model encodes."""
    encode, seen = model.encode, []
    monkeypatch.setattr(model, "encode", lambda images: (seen.append(tuple(images.shape)), encode(images))[1])
    return seen


def shares_right(found, shift, within):
    """How many matches lie within px of where a crop moved them, and their share."""
    right = (found.points_b - found.points_a - torch.tensor(shift)).norm(dim=-1) < within
    return int(right.sum()), right.float().mean().item()


# Back and forth


def test_a_mutual_match_of_given_points_is_a_match_that_leads_back(bold, sample):
    a, b = sample.video[0], sample.video[3]
    points = grid_points(64, 64, 6)
    there = match(bold, a, b, points, subpixel=False)  # what leads back is what the net says
    back = match(bold, b, a, there.points_b, subpixel=False)
    apart = (back.points_b - there.points_a[back.index]).norm(dim=-1)
    limit = apart.median().item()
    mutual = match(bold, a, b, points, mutual=True, round_trip_px=limit, subpixel=False)
    assert mutual.index.tolist() == there.index[back.index[apart < limit]].tolist()
    assert 0 < len(mutual) < len(there)
    assert torch.equal(mutual.points_b, there.points_b[torch.isin(there.index, mutual.index)])


def test_a_mutual_grid_lies_over_both_images(bold, sample):
    a, b = sample.video[0], sample.video[3]
    asked = {"grid": 5, "mutual": True, "round_trip_px": 20.0}
    forth, back = match(bold, a, b, **asked), match(bold, b, a, **asked)
    of_b = forth.index >= 25
    assert torch.equal(forth.points_b[of_b], grid_points(64, 64, 5)[forth.index[of_b] - 25])
    assert torch.equal(forth.points_a[~of_b], grid_points(64, 64, 5)[forth.index[~of_b]])

    here, there = (torch.cat([m.points_a, m.points_b], dim=-1) for m in (forth, back))
    assert sorted(here.tolist()) == sorted(there[:, [2, 3, 0, 1]].tolist())
    assert of_b.any() and (~of_b).any()


@pytest.mark.parametrize(
    "asked", [{"round_trip_px": -1.0}, {"round_trip_px": float("nan")}, {"num": 0}, {"grid": 0}]
)
def test_a_number_without_sense_is_named(bold, sample, asked):
    with pytest.raises(ValueError, match="expected a"):
        match(bold, sample.video[0], sample.video[1], **asked)


# Images of different shape


def test_a_crop_of_another_shape_is_matched_at_one_scale(tiny, photo):
    found = match(tiny, photo, photo[:, :, 128:384], grid=10)
    right, share = shares_right(found, [-128.0, 0.0], within=4)
    assert right >= 30 and share > 0.7  # of 60 points in it; each at its own scale: 15, and half of them


def test_a_narrow_strip_is_matched(tiny, photo):
    right, _ = shares_right(match(tiny, photo, photo[:, 170:298], grid=12), [0.0, -170.0], within=4)
    assert right >= 15  # of 36; each at its own scale: none


def test_the_way_of_looking_does_not_depend_on_the_points_asked_for(bold, sample):
    a, b = sample.video[0], sample.video[3, :, :30]
    points = grid_points(64, 64, 5)
    together, alone = match(bold, a, b, points), match(bold, a, b, points[[7]])
    assert 7 in together.index.tolist()
    assert torch.equal(together.points_b[together.index == 7], alone.points_b)


def test_images_of_one_shape_are_looked_at_once(bold, sample, monkeypatch):
    seen = count_encoded(bold, monkeypatch)
    match(bold, sample.video[0], sample.video[1], grid=3, mutual=True)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("height", "width", "sizes"),
    [
        (64, 64, {(64, 64)}),
        (128, 128, {(64, 64), (128, 128)}),  # twice the pixels: more is to be seen, or the same in more
        (64, 32, {(91, 45), (64, 32)}),
        (1000, 1000, {(64, 64), (128, 128)}),  # no more than twice the side
    ],
)
def test_another_image_is_looked_at_in_its_own_size_and_at_the_same_scale(bold, height, width, sizes):
    encoder = ImageEncoder(bold, None, kept_images=0)
    views = [encoder.open(torch.zeros(3, *size, dtype=torch.uint8)) for size in ((64, 64), (height, width))]
    tried = set()
    encode = encoder.encode
    encoder.encode = lambda view, small: (view is views[1] and tried.add(small), encode(view, small))[1]
    TwoViews(encoder, *views)
    assert tried == sizes


@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_images_smaller_than_a_few_cells_can_be_matched(bold, sample, size):
    found = match(bold, sample.video[0], sample.video[1, :, : size[0], : size[1]].expand(3, -1, -1), grid=3)
    height, width = min(size[0], 64), min(size[1], 64)
    assert ((found.points_b >= 0) & (found.points_b <= torch.tensor([width, height]))).all()


# Nothing to see


def test_corners_are_the_corners_of_what_is_drawn_strongest_first():
    image = torch.zeros(3, 60, 80, dtype=torch.uint8)
    image[:, 20:40, 30:60] = 255
    found = corner_points(image, 10)
    # Corners of the rectangle in raster px; a response peaks within a pixel of each.
    true = torch.tensor([[30.0, 20.0], [60.0, 20.0], [30.0, 40.0], [60.0, 40.0]])
    assert len(found) == 4 and torch.cdist(found, true).min(dim=1).values.max() < 1.5
    assert torch.equal(corner_points(image, 2), found[:2])
    assert corner_points(torch.full((3, 60, 80), 9, dtype=torch.uint8), 10).shape == (0, 2)
    with pytest.raises(ValueError, match="corners: expected a positive number, got 0"):
        corner_points(image, 0)


def test_matching_is_content_with_less_than_tracking(model, sample):
    a, b = sample.video[0], sample.video[3]
    model.visible_threshold, model.match_threshold = 2.0, -1.0
    assert len(match(model, a, b, grid=4)) > 0
    model.match_threshold = 2.0
    assert len(match(model, a, b, grid=4)) == 0
    model.visible_threshold = -1.0
    assert len(match(model, a, b, grid=4)) > 0


def test_corners_are_matched_in_place_of_a_grid(bold, sample):
    a, b = sample.video[0], sample.video[3]
    found = match(bold, a, b, corners=30)
    corners = corner_points(a, 30)
    assert len(found) and torch.equal(found.points_a, corners[found.index])
    both = match(bold, a, b, corners=30, mutual=True, round_trip_px=1e3)
    ours = both.index < len(corners)
    assert torch.equal(both.points_a[ours], corners[both.index[ours]])
    assert torch.equal(both.points_b[~ours], corner_points(b, 30)[both.index[~ours] - len(corners)])
    assert not len(match(bold, torch.full((3, 64, 64), 128, dtype=torch.uint8), b, corners=30))


def test_an_image_of_one_colour_has_no_matches(bold, sample):
    grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    grey[:, ::2] += 1  # as a JPEG leaves it
    for a, b in ((grey, grey), (grey, sample.video[0]), (sample.video[0], grey)):
        assert len(match(bold, a, b, grid=4)) == 0


def test_texture_is_a_difference_in_the_surroundings():
    frame = torch.full((3, 100, 120), 50, dtype=torch.uint8)
    frame[1, 40, 60] = 53  # one pixel in one channel
    seen = textured(frame)
    reach = image_encoder.SURROUNDINGS_PX
    assert seen.sum() == (2 * reach + 1) ** 2
    assert seen[40 - reach, 60 + reach] and not seen[40 - reach - 1, 60]
    frame[1, 40, 60] = 50 + image_encoder.FLAT_LEVELS
    assert not textured(frame).any()


def test_points_without_texture_around_them_are_left_out(bold, sample):
    half = sample.video[0].clone()
    half[:, :, :40] = 90
    found = match(bold, half, half, grid_points(64, 64, 8))
    assert (found.points_a[:, 0] > 40 - image_encoder.SURROUNDINGS_PX).all() and len(found)


# Images that come again


def test_a_file_that_comes_again_is_encoded_once_until_others_came(bold, sample, tmp_path, monkeypatch):
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    for path, frame in zip(paths, sample.video, strict=False):
        write_image(path, frame)
    seen = count_encoded(bold, monkeypatch)
    matcher = PairMatcher(bold, kept_images=2)
    first = matcher.match(paths[0], paths[1], grid=2)
    again = matcher.match(paths[0], paths[1], grid=2)
    assert len(seen) == 2 and torch.equal(first.points_b, again.points_b)
    matcher.match(paths[0], paths[2], grid=2)
    assert len(seen) == 3  # which put out the one that was not asked for longest
    matcher.encoder.encode(matcher.encoder.open(paths[1]), (64, 64))
    assert len(seen) == 4


def test_an_image_is_kept_at_the_last_few_sizes_it_was_asked_for_at(bold, sample, monkeypatch):
    seen = count_encoded(bold, monkeypatch)
    encoder = ImageEncoder(bold, image_size=64, kept_images=2)
    view = encoder.open(sample.video[0])
    sizes = [(64, width) for width in range(32, 32 + 8 * (image_encoder.KEPT_SIZES + 1), 8)]
    for small in sizes:
        encoder.encode(view, sizes[0])
        assert encoder.encode(view, small).small == small
    assert len(seen) == len(sizes)  # the first one, asked for all the time, is still there
    assert len(encoder._encoded[view.key]) == image_encoder.KEPT_SIZES
    encoder.encode(view, sizes[1])
    assert len(seen) == len(sizes) + 1


def test_arrays_that_are_mirrored_in_memory_or_read_only_are_images_and_points(bold, sample, recwarn):
    bgr = np.array(sample.video[0].permute(1, 2, 0).flip(-1))
    bgr.flags.writeable = False
    yx = grid_points(64, 64, 3).flip(-1).numpy()
    found = match(bold, bgr[..., ::-1], bgr[..., ::-1], yx[:, ::-1])
    true = match(bold, sample.video[0], sample.video[0], grid_points(64, 64, 3))
    assert len(true) and torch.equal(found.points_b, true.points_b)
    match(bold, bgr, bgr, grid=2)
    assert not [warning for warning in recwarn if "writable" in str(warning.message)]


def test_a_file_that_was_written_anew_is_read_anew(bold, sample, tmp_path):
    path = tmp_path / "image.png"
    write_image(path, sample.video[0])
    matcher = PairMatcher(bold)
    before = matcher.encoder.open(path).image
    write_image(path, sample.video[5])
    os.utime(path, ns=(1, 1))
    assert torch.equal(before, sample.video[0])
    assert torch.equal(matcher.encoder.open(path).image, sample.video[5])


# Samples


def test_few_matches_are_all_taken_in_their_order():
    assert balanced_sample(torch.rand(5, 4), torch.rand(5), num=5, seed=0).tolist() == [0, 1, 2, 3, 4]
    assert balanced_sample(torch.rand(0, 4), torch.rand(0), num=5, seed=0).tolist() == []


def test_company_is_counted_by_a_gaussian_of_the_distance_at_both_ends():
    step = image_step = 0.05  # the bandwidth: exp(-1 / 2) each
    ends = torch.tensor(
        [[0.5, 0.5, 0.5, 0.5], [0.5 + step, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5 - image_step]]
    )
    # From the second to the third it is sqrt(2) bandwidths: exp(-1).
    expected = [1 + 2 * np.exp(-0.5), 1 + np.exp(-0.5) + np.exp(-1), 1 + np.exp(-0.5) + np.exp(-1)]
    assert densities(ends).tolist() == pytest.approx(expected, rel=1e-5)


def test_a_sample_takes_sure_matches_and_spreads_over_the_scene():
    rng = torch.Generator().manual_seed(0)
    crowd = 0.5 + 0.02 * torch.rand(1800, 4, generator=rng)
    spread = torch.rand(200, 2, generator=rng).repeat(1, 2)
    certainty = torch.ones(2000)
    certainty[::2] = 1e-4
    chosen = balanced_sample(torch.cat([crowd, spread]), certainty, num=100, seed=3)
    assert len(chosen) == len(set(chosen.tolist())) == 100
    assert (certainty[chosen] == 1).all()
    # Of 400 drawn some 40 come from where a tenth of the matches is spread; each of them has a right to stay.
    assert (chosen >= 1800).float().mean() > 0.25


def test_a_match_without_company_is_taken_last():
    rng = torch.Generator().manual_seed(0)
    together = torch.rand(300, 1, generator=rng).expand(300, 4)  # a line, on which all have neighbours
    ends = torch.cat([together, torch.tensor([[0.05, 0.95, 0.95, 0.05]])])
    for seed in range(5):
        assert 300 not in balanced_sample(ends, torch.ones(301), num=150, seed=seed).tolist()


def test_a_sample_is_a_function_of_its_seed(bold, sample):
    asked = {"grid": 8, "num": 20}
    found = [match(bold, sample.video[0], sample.video[1], **asked, seed=seed) for seed in (4, 4, 5)]
    assert all(len(one) == 20 for one in found)
    assert torch.equal(found[0].index, found[1].index) and not torch.equal(found[0].index, found[2].index)
    assert found[0].index.tolist() == sorted(found[0].index.tolist())


# Dense warps


def made_warp(positions, certainty):
    return Warp(positions=positions, certainty=certainty, size_a=(40, 80), size_b=(40, 80))


def test_a_warp_of_one_flow_keeps_it_at_every_size():
    start = made_warp(torch.zeros(4, 4, 2), torch.ones(4, 4)).start
    assert start[0, 0].tolist() == [10.0, 5.0] and start[3, 3].tolist() == [70.0, 35.0]
    moved = made_warp(start + torch.tensor([3.0, -2.0]), torch.full((4, 4), 0.5))
    for size in ((40, 80), (3, 5), (100, 20)):
        dense = moved.resized(*size)
        assert dense.positions.shape == (*size, 2) and dense.certainty.shape == size
        torch.testing.assert_close(dense.flow, torch.tensor([3.0, -2.0]).expand(*size, 2), atol=1e-4, rtol=0)
        torch.testing.assert_close(dense.certainty, torch.full(size, 0.5))
    assert torch.equal(moved.resized(40, 80).start[0, 0], torch.tensor([0.5, 0.5]))


def test_a_warp_between_two_tiles_is_halfway_unless_one_is_unknown():
    flow = torch.tensor([[[0.0, 0.0], [8.0, 4.0]]])
    for certainty, expected in ((torch.ones(1, 2), [4.0, 2.0]), (torch.tensor([[1.0, 0.0]]), [0.0, 0.0])):
        zero = made_warp(torch.zeros(1, 2, 2), certainty)
        dense = made_warp(zero.start + flow, certainty).resized(1, 3)
        torch.testing.assert_close(dense.flow[0, 1], torch.tensor(expected), atol=2e-3, rtol=0)
        assert dense.certainty[0, 1] == certainty.mean()


def test_the_warp_of_an_image_onto_itself_stays(tiny, photo):
    found = warp(tiny, photo, photo, grid=8, image_size=128)
    sure = found.certainty > 0.5
    assert found.positions.shape == (8, 8, 2) and found.positions.isfinite().all()
    assert sure.float().mean() > 0.9 and found.flow[sure].norm(dim=-1).median() < 2


def test_a_warp_knows_nothing_where_nothing_is_to_be_seen(bold, sample):
    grey = torch.full((3, 50, 70), 9, dtype=torch.uint8)
    found = warp(bold, sample.video[0], grey, grid=4)
    assert (found.certainty == 0).all() and found.positions.isfinite().all()
    assert (found.size_a, found.size_b) == ((64, 64), (50, 70))
