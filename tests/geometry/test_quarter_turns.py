import numpy as np
import pytest
import torch

from retracker.geometry.camera import project, transform
from retracker.geometry.quarter_turns import turn_image, turn_intrinsics, turn_pose

CAMERA = torch.tensor([[50.0, 0.0, 31.0], [0.0, 55.0, 17.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
SIZE = (40, 60)  # height, width


@pytest.mark.parametrize("turns", range(5))
def test_an_image_turns_as_numpy_turns_it(turns):
    image = torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)
    expected = np.rot90(image.numpy(), turns, (1, 2))
    assert np.array_equal(turn_image(image, turns).numpy(), expected)


@pytest.mark.parametrize("turns", range(4))
def test_what_a_camera_sees_stays_on_its_pixel(turns):
    # Each pixel is told by its colour; its centre is where the camera sees the point that it shows.
    image = torch.arange(SIZE[0] * SIZE[1]).reshape(1, *SIZE) % 251
    turned = turn_image(image.to(torch.uint8), turns)[0]
    pose = turn_pose(torch.eye(4, dtype=torch.float64), turns)
    intrinsics = turn_intrinsics(CAMERA, SIZE, turns)
    for x, y in ((0, 0), (59, 0), (7, 33), (59, 39)):
        ray = torch.linalg.inv(CAMERA) @ torch.tensor([x + 0.5, y + 0.5, 1.0], dtype=torch.float64) * 3
        (there,), depth = project(transform(pose, ray[None]), intrinsics)
        column, row = (there - 0.5).round().long().tolist()
        torch.testing.assert_close(there, torch.tensor([column + 0.5, row + 0.5], dtype=torch.float64))
        assert turned[row, column] == image[0, y, x]
        assert depth.tolist() == pytest.approx([3.0])


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (0, [50, 55, 31, 17.5]),
        (1, [55, 50, 17.5, 60 - 31]),
        (2, [50, 55, 60 - 31, 40 - 17.5]),
        (3, [55, 50, 40 - 17.5, 31]),
    ],
)
def test_intrinsics_are_those_that_superglue_turns_them_into(turns, expected):
    found = turn_intrinsics(CAMERA, SIZE, turns)
    fx, fy, cx, cy = expected
    exact = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(found, exact)


def test_four_quarters_are_none():
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3] = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = pose
    for _ in range(4):
        turned = turn_pose(turned, 1)
    assert torch.equal(turned, pose)
    assert torch.equal(turn_intrinsics(CAMERA, SIZE, 4), CAMERA)
