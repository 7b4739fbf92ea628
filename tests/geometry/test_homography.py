import torch

from retracker.geometry.homography import affine, for_indices, from_indices, jacobian, transform, turned

TILTED = torch.tensor([[1.1, 0.2, 5.0], [-0.1, 0.9, 3.0], [1e-3, -2e-3, 1.0]], dtype=torch.float64)
POINTS = torch.tensor([[0.5, 0.5], [20.0, 7.0], [63.0, 47.5]], dtype=torch.float64)


def test_a_point_is_divided_by_its_depth():
    there, ahead = transform(TILTED, torch.tensor([[10.0, 20.0]]))
    depth = 1 + 0.01 - 0.04
    expected = torch.tensor([[(11 + 4 + 5) / depth, (-1 + 18 + 3) / depth]], dtype=torch.float64)
    torch.testing.assert_close(there, expected)
    assert ahead.all()


def test_the_inverse_brings_points_back_and_batches_broadcast():
    matrices = torch.stack([TILTED, torch.eye(3, dtype=torch.float64)])
    there, _ = transform(matrices, POINTS)
    back, _ = transform(torch.linalg.inv(matrices), there)
    assert there.shape == (2, 3, 2)
    torch.testing.assert_close(back, POINTS.expand(2, 3, 2))


def test_a_point_behind_the_horizon_goes_nowhere():
    there, ahead = transform(TILTED, torch.tensor([[0.0, 500.0], [0.0, 1600.0], [0.0, 0.0]]))
    assert ahead.tolist() == [False, False, True]  # the first lies on it
    assert torch.equal(there[:2], torch.zeros(2, 2, dtype=torch.float64))


def test_the_jacobian_is_that_of_autograd():
    ours = jacobian(TILTED, POINTS)
    for point, one in zip(POINTS, ours, strict=True):
        theirs = torch.autograd.functional.jacobian(lambda xy: transform(TILTED, xy[None])[0][0], point)
        torch.testing.assert_close(one, theirs)


def test_an_affine_map_takes_the_source_to_the_target_and_steps_by_its_linear_part():
    linear = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    matrix = affine(linear, torch.tensor([4.0, 5.0]), torch.tensor([[10.0, 20.0], [0.0, 0.0]]))
    there, _ = transform(matrix, torch.tensor([[4.0, 5.0], [5.0, 5.0], [4.0, 6.0]]))
    assert there.tolist() == [[[10, 20], [12, 20], [11, 23]], [[0, 0], [2, 0], [1, 3]]]


def test_a_quarter_turn_is_clockwise_on_the_screen_and_after_the_scaling():
    linear = turned(torch.tensor(torch.pi / 2), torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(linear, torch.tensor([[0.0, -3.0], [2.0, 0.0]]))  # right (x) turns down (y)


def test_pixel_indices_are_raster_coordinates_less_a_half():
    halved = affine(torch.eye(2) / 2, torch.zeros(2), torch.zeros(2))
    there, _ = transform(for_indices(halved), torch.tensor([[0.0, 1.0]]))
    assert there.tolist() == [[-0.25, 0.25]]  # the centre (.5, 1.5) goes to (.25, .75)


def test_a_map_of_indices_takes_the_same_pixels_to_the_same_places():
    double = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))  # of indices: pixel 0 to pixel 0
    there, _ = transform(from_indices(double), torch.tensor([[0.5, 1.5]]))
    assert there.tolist() == [[0.5, 2.5]]  # the centres of pixels (0, 1) and (0, 2)
    torch.testing.assert_close(for_indices(from_indices(TILTED)), TILTED)
