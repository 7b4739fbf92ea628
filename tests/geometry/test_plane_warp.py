import pytest
import torch

from retracker.geometry.plane_warp import PlaneWarp, thin_plate, thin_plate_moves, thin_plate_spline

STEP = torch.linspace(0, 1, 4, dtype=torch.float64)
CENTRES = torch.cartesian_prod(STEP, STEP)


@pytest.fixture
def spline():
    generator = torch.Generator().manual_seed(0)
    return thin_plate_spline(CENTRES, 0.04 * torch.randn(3, 16, 2, dtype=torch.float64, generator=generator))


@pytest.fixture
def places():
    return torch.rand(3, 200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.3


def test_a_spline_takes_the_given_values_at_its_centres_and_is_straight_where_they_are():
    values = torch.rand(16, 2, dtype=torch.float64)
    torch.testing.assert_close(thin_plate(CENTRES, CENTRES) @ thin_plate_spline(CENTRES, values), values)
    line = CENTRES @ torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64) + 5
    coefficients = thin_plate_spline(CENTRES, line)
    torch.testing.assert_close(coefficients[:16], torch.zeros_like(coefficients[:16]))
    torch.testing.assert_close(
        coefficients[16:], torch.tensor([[5.0, 5.0], [1.0, 2.0], [3.0, -1.0]]).double()
    )


def test_the_slope_is_that_of_autograd(spline, places):
    value, ours = thin_plate_moves(places, CENTRES, spline)
    torch.testing.assert_close(value, thin_plate(places, CENTRES) @ spline)
    place = places[1, 7]
    theirs = torch.autograd.functional.jacobian(
        lambda xy: (thin_plate(xy[None], CENTRES) @ spline[1])[0], place
    )
    torch.testing.assert_close(ours[1, 7], theirs)
    assert thin_plate_moves(CENTRES, CENTRES, spline)[1].isfinite().all()


def test_what_is_found_is_seen_there(spline, places):
    tilted = torch.tensor([[300.0, 40.0, 20.0], [-50.0, 280.0, 30.0], [0.1, -0.2, 1.0]], dtype=torch.float64)
    warp = PlaneWarp(centres=CENTRES, spline=spline, homography=tilted.repeat(3, 1, 1))
    source, ahead = warp.source(places)
    back, found = warp.find(source)
    assert ahead.all() and found.all()
    torch.testing.assert_close(back, places, atol=1e-7, rtol=0)


def test_what_lies_behind_the_horizon_is_not_found(spline):
    tilted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    warp = PlaneWarp(centres=CENTRES, spline=spline[0], homography=tilted)
    back, found = warp.find(torch.tensor([[0.2, 0.2], [0.2, 0.7]], dtype=torch.float64))  # y' < 1/2 ahead
    assert found.tolist() == [True, False] and back.isfinite().all()
    _, ahead = warp.source(torch.tensor([[0.2, 0.2], [0.2, -5.0]], dtype=torch.float64))
    assert ahead.tolist() == [True, False]
