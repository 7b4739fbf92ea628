"""Points carried from view to view by depth: against rendered scenes, whose flow is exact, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pair_layouts import still, true_flow, true_places

from retracker.data.pairs import DEPTH_EDGE, fitted
from retracker.data.recordings import Unusable
from retracker.data.supervision import query_points, supervised_clip, transfer, unmatched_clip
from retracker.geometry.camera import relative_pose, scale_intrinsics
from retracker.geometry.depth import resize_depth
from retracker.types import PairSample

HEIGHT, WIDTH = 64, 96
SEEDS = (11, 13, 14, 16)
TOLERANCE = 0.05


def pair_of(truth, source=0, target=5, size=(HEIGHT, WIDTH)):
    """Two frames of a rendered scene, put at another size as a reader does it."""
    depths = [resize_depth(truth.depth[t], *size, DEPTH_EDGE).float() for t in (source, target)]
    cameras = [scale_intrinsics(truth.intrinsics[t], (HEIGHT, WIDTH), size) for t in (source, target)]
    image = torch.zeros(3, *size, dtype=torch.uint8)
    return PairSample(
        image0=image,
        image1=image,
        size0=torch.tensor(size),
        size1=torch.tensor(size),
        depth0=depths[0],
        depth1=depths[1],
        intrinsics0=cameras[0],
        intrinsics1=cameras[1],
        pose_0to1=relative_pose(truth.poses[source], truth.poses[target]),
        name="still/0-5",
    )


def pixel_centres(height=HEIGHT, width=WIDTH):
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_label_is_that_of_the_rendered_scene(seed):
    truth = still(seed)
    pair, flow = pair_of(truth), true_flow(truth)
    expected = pixel_centres() + flow.displacement[0].flatten(0, 1)
    seen = flow.valid[0].flatten()
    clip = supervised_clip(pair, pixel_centres(), dense=False)
    visible, labelled, located = clip.visible[1], clip.labelled[1], clip.located[1]
    assert torch.equal(visible[labelled], seen[labelled])
    assert (clip.tracks[1] - expected).norm(dim=-1)[visible].max() < 1e-3
    # Unknown: where the four pixels around a place straddle an edge. At 96 px that is a wide band.
    assert labelled.float().mean() > 0.9
    assert (labelled | ~located).all() and (located | ~visible).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_unknown_labels_lie_at_depth_edges(seed):
    truth = still(seed)
    pair = pair_of(truth)
    found = transfer(pair, pixel_centres(), TOLERANCE)
    unknown = ~(found.seen | found.hidden | found.outside)
    # Where each would be, read from the truth: within a pixel of it depth differs by more than the tolerance.
    flow = true_flow(truth)
    places = (pixel_centres() + flow.displacement[0].flatten(0, 1))[unknown & flow.valid[0].flatten()]
    depth = torch.nn.functional.pad(truth.depth[5][None, None], (1, 1, 1, 1), mode="replicate")
    largest = torch.nn.functional.max_pool2d(depth, 3, 1)[0, 0]
    smallest = -torch.nn.functional.max_pool2d(-depth, 3, 1)[0, 0]
    column, row = places.long().unbind(-1)
    assert (largest[row, column] > smallest[row, column] * (1 + TOLERANCE)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_dense_flow_is_that_of_the_rendered_scene(seed):
    truth = still(seed)
    flow, expected = supervised_clip(pair_of(truth), torch.ones(1, 2), dense=True).flow, true_flow(truth)
    valid = flow.valid[1]
    assert not (valid & ~expected.valid[0]).any() and valid.float().mean() > 0.5
    assert (flow.displacement[1] - expected.displacement[0]).norm(dim=-1)[valid].max() < 1e-3
    assert flow.valid[0].all() and not flow.displacement[0].any()
    assert not flow.displacement[1][~valid].any()


@pytest.mark.parametrize("size", [(128, 192), (48, 72), (43, 64)])
@pytest.mark.parametrize("seed", SEEDS)
def test_resized_views_tell_the_same(seed, size):
    truth = still(seed)
    clip = supervised_clip(pair_of(truth, size=size), pixel_centres(*size), dense=False)
    ratio = torch.tensor([size[1] / WIDTH, size[0] / HEIGHT])
    places, seen = true_places(truth, pixel_centres(*size) / ratio)
    visible = clip.visible[1]
    assert visible.float().mean() > 0.5 and seen[visible].float().mean() > 0.999
    # In pixels of the stored view: between those, curved surfaces are taken for planes.
    assert (clip.tracks[1] / ratio - places).norm(dim=-1)[visible & seen].max() < 0.05


def wall(depth0=4.0, depth1=4.0, x=0.0, z=0.0, height=20, width=30, focal=100.0):
    """Two views of a wall, of 20 x 30 px; camera 1 stands ``x`` to the right and ``z`` ahead of camera 0."""
    camera = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 3], pose[2, 3] = -x, -z
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    return PairSample(
        image0=image,
        image1=image + 1,
        size0=torch.tensor([height, width]),
        size1=torch.tensor([height, width]),
        depth0=torch.full((height, width), depth0),
        depth1=torch.full((height, width), depth1),
        intrinsics0=camera,
        intrinsics1=camera,
        pose_0to1=pose,
        name="wall",
    )


MIDDLE = torch.tensor([[15.25, 10.5]])


def labels(clip):
    """Visible, labelled, located in frame 1 of the only point."""
    return clip.visible[1].item(), clip.labelled[1].item(), clip.located[1].item()


def test_a_seen_point_is_carried_to_half_a_pixel_and_less():
    clip = supervised_clip(wall(x=0.1), MIDDLE, dense=False)  # 100 * 0.1 / 4 px to the left
    torch.testing.assert_close(clip.tracks[1], torch.tensor([[12.75, 10.5]]))
    assert labels(clip) == (True, True, True)
    assert torch.equal(clip.tracks[0], MIDDLE) and torch.equal(clip.queries.xy, MIDDLE)
    assert torch.equal(clip.video[1], clip.video[0] + 1) and clip.queries.frame.tolist() == [0]


def test_a_point_behind_something_nearer_is_hidden_but_located():
    clip = supervised_clip(wall(depth1=3.0, x=0.1), MIDDLE, dense=False)
    assert labels(clip) == (False, True, True)
    torch.testing.assert_close(clip.tracks[1], torch.tensor([[12.75, 10.5]]))


def test_a_depth_farther_away_than_the_point_says_nothing():
    assert labels(supervised_clip(wall(depth1=5.0), MIDDLE, dense=False)) == (False, False, False)


def test_without_depth_in_view_1_nothing_is_known():
    assert labels(supervised_clip(wall(depth1=0.0), MIDDLE, dense=False)) == (False, False, False)


def test_without_depth_in_view_0_nothing_is_known_not_even_that_it_is_outside():
    assert labels(supervised_clip(wall(depth0=0.0, x=9.0), MIDDLE, dense=False)) == (False, False, False)


def test_a_point_outside_of_view_1_is_known_to_be_unseen():
    assert labels(supervised_clip(wall(x=1.0), MIDDLE, dense=False)) == (False, True, False)


def test_a_place_that_is_rounded_onto_the_border_is_outside():
    moved = (15.25 - 30 + 1e-7) * 4 / 100  # to 30 - 1e-7 px, in 32 bits the border itself
    clip = supervised_clip(wall(x=moved), MIDDLE, dense=False)
    assert labels(clip) == (False, True, False) and not clip.tracks[1].any()
    assert labels(supervised_clip(wall(x=moved + 1e-6), MIDDLE, dense=False)) == (True, True, True)


def test_a_point_behind_the_camera_is_known_to_be_unseen():
    clip = supervised_clip(wall(z=6.0), MIDDLE, dense=False)  # it would project into the image
    assert labels(clip) == (False, True, False) and clip.tracks.isfinite().all()
    level = supervised_clip(wall(z=4.0), MIDDLE, dense=False)  # depth 0: a division by zero
    assert labels(level) == (False, True, False) and level.tracks.isfinite().all()


def test_the_true_size_of_a_view_is_where_it_ends():
    pair = replace(wall(x=0.1), size1=torch.tensor([20, 12]))  # the rest of the frame is padding
    assert labels(supervised_clip(pair, MIDDLE, dense=False)) == (False, True, False)
    with pytest.raises(ValueError, match="outside of view 0"):
        supervised_clip(replace(pair, size0=torch.tensor([20, 15])), MIDDLE, dense=False)


@pytest.mark.parametrize("side", [0, 1])
def test_a_depth_edge_at_either_end_says_nothing(side):
    pair = wall()
    depth = pair.depth0.clone()
    depth[:, 15:] = 4.3  # 7.5 % farther: an edge between columns 14 and 15
    pair = replace(pair, **{f"depth{side}": depth})
    assert labels(supervised_clip(pair, torch.tensor([[15.0, 10.0]]), dense=False)) == (False, False, False)
    assert labels(supervised_clip(pair, torch.tensor([[14.0, 10.0]]), dense=False)) == (True, True, True)


def test_the_tolerance_decides_what_is_hidden():
    pair = wall(depth1=3.9)  # 2.5 % nearer
    assert labels(supervised_clip(pair, MIDDLE, dense=False)) == (True, True, True)
    assert labels(supervised_clip(pair, MIDDLE, dense=False, tolerance=0.01)) == (False, True, True)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_unit_of_length_does_not_matter(seed):
    pair = pair_of(still(seed))
    pose = pair.pose_0to1.clone()
    pose[:3, 3] *= 1000
    large = replace(pair, depth0=pair.depth0 * 1000, depth1=pair.depth1 * 1000, pose_0to1=pose)
    one = supervised_clip(pair, pixel_centres(), dense=False)
    other = supervised_clip(large, pixel_centres(), dense=False)
    torch.testing.assert_close(one.tracks, other.tracks, atol=1e-4, rtol=0)
    assert torch.equal(one.visible, other.visible) and torch.equal(one.labelled, other.labelled)


def test_query_points_lie_where_depth_is_known_and_smooth():
    pair = pair_of(still(13))
    depth0 = pair.depth0.clone()
    depth0[:, :40] = 0
    pair = replace(pair, depth0=depth0)
    points = query_points(pair, 500, np.random.default_rng(3))
    assert points.shape == (500, 2) and (points[:, 0] >= 40.5).all()
    assert (points <= torch.tensor([WIDTH - 0.5, HEIGHT - 0.5])).all()
    assert len(points.frac().unique()) > 400  # between pixels, too
    assert torch.equal(points, query_points(pair, 500, np.random.default_rng(3)))
    found = transfer(pair, points, TOLERANCE)
    assert (found.seen | found.hidden | found.outside).float().mean() > 0.9
    with pytest.raises(Unusable, match="wall"):
        query_points(wall(depth0=0.0), 3, np.random.default_rng(3))


def test_views_of_different_scenes_have_no_match():
    points = torch.tensor([[3.0, 4.0], [20.5, 7.25]])
    clip = unmatched_clip(wall(), points, dense=False)
    assert clip.visible.tolist() == clip.located.tolist() == [[True, True], [False, False]]
    assert clip.labelled.all() and clip.flow is None and clip.tracks.isfinite().all()
    assert torch.equal(clip.tracks[0], points) and clip.name == "wall"


def test_a_view_is_fitted_by_its_long_side():
    assert fitted(968, 1296, 512) == (382, 512)
    assert fitted(1600, 1200, 512) == (512, 384)
    assert fitted(20, 30, 512) == (341, 512)
    assert fitted(1, 5000, 512) == (1, 512)
