"""What grey values cannot tell stays where it was; the rest moves freely."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from retracker.checkpoint import load
from retracker.inference.clip import track
from retracker.inference.steady import LARGEST, LEAST, NOISE, Doubt, doubt, steady
from retracker.inference.subpixel import RADIUS, cut_patches, window

SIDE = 2 * RADIUS + 1


def values(image: Tensor) -> Tensor:
    """The grey values of the patch around the middle of an image, H W."""
    middle = torch.tensor([[image.shape[1] / 2, image.shape[0] / 2]])
    return cut_patches(image[None, None], middle).values


def slope(x: float, y: float) -> Tensor:
    """An image that brightens by so much per px."""
    row, column = torch.meshgrid(torch.arange(61.0), torch.arange(61.0), indexing="ij")
    return x * column + y * row


def upright(across: float, along: float) -> Doubt:
    """Deviations in px along x and along y."""
    return Doubt(variance=torch.tensor([[across, along]]).square(), axes=torch.eye(2)[None])


def test_nothing_is_told_by_a_plain_patch() -> None:
    found = doubt(values(torch.full((61, 61), 90.0)))
    assert torch.equal(found.variance, torch.full((1, 2), LARGEST**2 - LEAST**2))


def test_a_ramp_tells_where_it_lies_across_and_nothing_along() -> None:
    """Slope s everywhere: the variance of a weighted mean of noise, over s^2."""
    found = doubt(values(slope(0.0, 0.5)))
    _, weight = window(torch.device("cpu"))
    inner = weight.unflatten(0, (SIDE, SIDE))[1:-1, 1:-1]
    expected = NOISE**2 * (inner / inner.sum()).square().sum() / 0.5**2 - LEAST**2
    assert 0 < expected < LARGEST**2 - LEAST**2
    torch.testing.assert_close(found.variance[0, 0], expected, rtol=1e-3, atol=0.0)
    torch.testing.assert_close(found.variance[0, 1], torch.tensor(LARGEST**2 - LEAST**2))
    torch.testing.assert_close(found.axes[0, 0].abs(), torch.tensor([0.0, 1.0]), atol=1e-3, rtol=0.0)


def test_what_is_seen_well_is_left_alone() -> None:
    """Across an edge of 60 grey values a px no movement is too short to be believed."""
    known = doubt(values(slope(60.0, 0.0)))
    assert known.variance[0, 0] == 0
    there = torch.tensor([[12.5, 7.25]])
    found = steady(there, there + torch.tensor([[0.01, 0.01]]), known)
    torch.testing.assert_close(found - there, torch.tensor([[0.01, 0.0]]), atol=1e-4, rtol=0.0)


def test_axes_turn_with_the_edge() -> None:
    found = doubt(values(slope(30.0, 40.0)))
    assert (found.axes[0, 0] @ torch.tensor([0.6, 0.8])).abs() > 0.9999
    torch.testing.assert_close(found.axes[0] @ found.axes[0].T, torch.eye(2), atol=1e-6, rtol=0.0)


def test_hand_computed_movements() -> None:
    """d^3 / (d^2 + s^2): of 1 px at a deviation of 2 px a fifth, of 3 px at 1 px nine tenths."""
    found = steady(torch.tensor([[10.0, 20.0]]), torch.tensor([[11.0, 17.0]]), upright(2.0, 1.0))
    torch.testing.assert_close(found, torch.tensor([[10.2, 17.3]]))


def test_what_did_not_move_stays_and_what_is_certain_moves_all_the_way() -> None:
    there = torch.tensor([[12.5, 7.25]])
    assert torch.equal(steady(there, there, upright(2.0, 2.0)), there)
    moved = torch.tensor([[13.5, 6.25]])
    torch.testing.assert_close(steady(there, moved, upright(1e-3, 1e-3)), moved, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("speed", [0.05, 0.3, 1.0, 5.0])
def test_a_steady_motion_is_followed_half_a_deviation_behind_at_most(speed: float) -> None:
    """However slow it is: what is held back grows until it is believed."""
    place = torch.zeros(1, 2)
    for frame in range(1, 201):
        true = torch.tensor([[speed * frame, 0.0]])
        place = steady(place, true, upright(1.0, 1.0))
    assert 0 < (true - place)[0, 0] <= 0.5 + 1e-4
    assert place[0, 1] == 0


def test_noise_is_averaged() -> None:
    """Of a point that stands still and is found with a deviation of 0.3 px, at a doubt of 1 px."""
    torch.manual_seed(0)
    place, far = torch.zeros(1, 2), []
    for _ in range(300):
        place = steady(place, 0.3 * torch.randn(1, 2), upright(1.0, 1.0))
        far.append(place.norm().item())
    assert sum(far) / len(far) < 0.2  # 0.38 as found


def still_wall(frames: int) -> Tensor:
    """A film (T 3 H W) of a shaded wall, whose texture and noise are two and half a grey value strong."""
    generator = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(torch.arange(192.0), torch.arange(256.0), indexing="ij")
    texture = F.interpolate(torch.randn(1, 1, 24, 32, generator=generator), (192, 256), mode="bicubic")[0, 0]
    wall = 120 + 30 * (column / 40).sin() + 20 * (row / 35).cos() + 2 * texture
    noise = 0.5 * torch.randn(frames, 1, 192, 256, generator=generator)
    return (wall + noise).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous()


def test_points_of_a_plain_wall_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 px off after nine frames, and a third of the restlessness that the same net has without."""
    net, video = load("tiny"), still_wall(10)
    queries = torch.tensor(
        [[0.0, x, y] for x in (60.0, 100.0, 128.0, 160.0, 200.0) for y in (48.0, 96.0, 144.0)]
    )
    held = track(net, video, queries)
    monkeypatch.setattr("retracker.inference.slots.steady", lambda *places_and_doubt: places_and_doubt[1])
    free = track(net, video, queries)
    assert held.visible.all()
    assert (held.tracks[-1] - queries[:, 1:]).norm(dim=-1).mean() < 0.2
    steps = [(found.tracks[1:] - found.tracks[:-1]).norm(dim=-1).mean() for found in (held, free)]
    assert steps[0] < steps[1] / 3
