"""Cameras and depth maps, against cases worked out by hand."""

import pytest
import torch

from retracker.geometry.camera import (
    invert,
    project,
    relative_pose,
    scale_intrinsics,
    transform,
    unproject,
)
from retracker.geometry.depth import read_depth, resize_depth


def camera(focal=100.0, x=50.0, y=40.0):
    return torch.tensor([[focal, 0, x], [0, focal, y], [0, 0, 1]], dtype=torch.float64)


def moved(x=0.0, y=0.0, z=0.0):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = torch.tensor([x, y, z])
    return pose


def quarter_turn():
    """About the optical axis: what is on the right comes down."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    return pose


def test_a_point_on_the_axis_is_seen_at_the_principal_point():
    xy, depth = project(torch.tensor([[0.0, 0.0, 4.0]], dtype=torch.float64), camera())
    assert xy.tolist() == [[50.0, 40.0]] and depth.tolist() == [4.0]


def test_a_step_to_the_right_moves_points_to_the_left():
    # 0.5 to the right at depth 4 and focal length 100: 100 * 0.5 / 4 px.
    point = unproject(
        torch.tensor([[60.0, 30.0]], dtype=torch.float64), torch.tensor([4.0]).double(), camera()
    )
    xy, depth = project(transform(moved(x=-0.5), point), camera())
    torch.testing.assert_close(xy, torch.tensor([[47.5, 30.0]], dtype=torch.float64))
    assert depth.tolist() == [4.0]


def test_a_quarter_turn_brings_the_right_down():
    point = unproject(
        torch.tensor([[60.0, 40.0]], dtype=torch.float64), torch.tensor([2.0]).double(), camera()
    )
    xy, _ = project(transform(quarter_turn(), point), camera())
    torch.testing.assert_close(xy, torch.tensor([[50.0, 50.0]], dtype=torch.float64))


def test_a_point_behind_has_a_negative_depth():
    _, depth = project(torch.tensor([[1.0, 1.0, -2.0]], dtype=torch.float64), camera())
    assert depth.tolist() == [-2.0]


def test_unproject_undoes_project_also_in_batches():
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 3, 5, 3, generator=generator, dtype=torch.float64) + 1
    cameras = torch.stack([camera(), camera(250.0, 20.0, 70.0)])[:, None].expand(2, 3, 3, 3)
    xy, depth = project(points, cameras)
    torch.testing.assert_close(unproject(xy, depth, cameras), points)


def test_the_relative_pose_leads_from_one_camera_to_the_other():
    first, second = moved(x=1.0, z=2.0) @ quarter_turn(), quarter_turn() @ moved(y=3.0)
    world = torch.tensor([[0.3, -0.2, 5.0]], dtype=torch.float64)
    there = transform(relative_pose(first, second), transform(first, world))
    torch.testing.assert_close(there, transform(second, world))
    torch.testing.assert_close(invert(first) @ first, torch.eye(4, dtype=torch.float64))


def test_a_resized_image_sees_the_same_at_a_pure_ratio():
    points = torch.tensor([[0.5, -0.25, 3.0]], dtype=torch.float64)
    xy, _ = project(points, camera())
    resized, _ = project(points, scale_intrinsics(camera(), (80, 100), (40, 300)))
    torch.testing.assert_close(resized, xy * torch.tensor([3.0, 0.5], dtype=torch.float64))


def plane(height, width, slant=(0.004, 0.002), nearest=0.2):
    """Inverse depth is linear in the image: the depth map of a plane, at pixel centres."""
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    y, x = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    return 1 / (nearest + slant[0] * x + slant[1] * y)


def test_depth_of_a_plane_is_exact_between_pixels_and_up_to_the_border():
    xy = torch.rand(500, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    xy = torch.cat([xy * torch.tensor([30.0, 20.0]), torch.tensor([[0.0, 0.0], [29.999, 19.999]])])
    reading = read_depth(plane(20, 30), xy)
    assert reading.known.all() and reading.smooth(0.05).all()
    torch.testing.assert_close(reading.depth, 1 / (0.2 + 0.004 * xy[:, 0] + 0.002 * xy[:, 1]))


def test_a_plane_stays_a_plane_at_any_size():
    for height, width in ((10, 15), (7, 41), (40, 60)):
        resized = resize_depth(plane(20, 30), height, width, 0.05)
        expected = plane(height, width, (0.004 * 30 / width, 0.002 * 20 / height))
        torch.testing.assert_close(resized, expected)


def test_at_a_pixel_centre_only_that_pixel_counts():
    depth = torch.tensor([[1.0, 9.0], [0.0, 5.0]], dtype=torch.float64)
    reading = read_depth(depth, torch.tensor([[0.5, 0.5], [1.5, 0.5], [1.5, 1.5]], dtype=torch.float64))
    assert reading.depth.tolist() == [1.0, 9.0, 5.0] and reading.smooth(0.0).all()


def test_depth_next_to_an_unknown_pixel_is_unknown_and_at_an_edge_not_smooth():
    depth = torch.tensor([[1.0, 9.0], [0.0, 9.0]], dtype=torch.float64)
    reading = read_depth(depth, torch.tensor([[1.0, 1.0], [1.0, 0.5], [1.5, 1.0]], dtype=torch.float64))
    assert reading.known.tolist() == [False, True, True]
    assert reading.smooth(0.05).tolist() == [False, False, True]
    assert reading.depth[2] == 9


def test_edges_and_holes_become_unknown_in_another_size():
    depth = torch.ones(4, 4, dtype=torch.float64)
    depth[:, 3], depth[0, 0] = 2.0, 0.0
    assert resize_depth(depth, 2, 2, 0.05).tolist() == [[0.0, 0.0], [1.0, 0.0]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1)])
def test_maps_of_a_single_row_or_column_can_be_read(shape):
    resized = resize_depth(torch.full(shape, 3.0), 5, 6, 0.05)
    torch.testing.assert_close(resized, torch.full((5, 6), 3.0))
