"""A booster that starts to be trained hands descriptors through, and learns from there."""

import pytest
import torch
import torch.nn.functional as F

from retracker.models.booster_start import hand_through
from retracker.models.descriptor import build_booster


def started(preset, attention="aft", *, cross=True, geometry=True):
    torch.manual_seed(0)
    net = build_booster(preset, geometry, cross, attention, 0.0)
    hand_through(net)
    return net


@pytest.mark.parametrize("switches", [{}, {"attention": "mha"}, {"cross": False}, {"geometry": False}])
def test_bits_come_out_as_they_go_in(switches):
    net = started("ORB+Boost-B", **switches)
    bits = torch.randint(0, 2, (2, 9, 256), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    assert torch.equal(net(bits, torch.randn(2, 9, 4), None) >= 0, bits > 0)


def test_numbers_come_out_normalised_over_their_channels():
    net = started("SIFT+Boost-F")
    descriptors = F.normalize(torch.rand(1, 7, 128, generator=torch.Generator().manual_seed(1)), dim=-1)
    centred = descriptors - descriptors.mean(-1, keepdim=True)
    # LayerNorm's epsilon is 1e-6; descriptors of unit length have a variance of about 2e-3.
    torch.testing.assert_close(
        net(descriptors, torch.randn(1, 7, 4), None), F.normalize(centred, dim=-1), atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("preset", ["ORB+Boost-B", "SIFT+Boost-B"])
def test_all_of_it_learns(preset):
    net = started(preset)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(2)
    channels = net.denc.encoder[0].in_features
    learnt = set()
    for _ in range(4):
        descriptors = torch.randn(1, 9, channels, generator=generator)
        out = net(descriptors, torch.randn(1, 9, 4, generator=generator), None)
        optimiser.zero_grad()
        (out * torch.randn(out.shape, generator=generator)).sum().backward()
        learnt |= {name for name, p in net.named_parameters() if p.grad.any()}
        optimiser.step()
    assert {name for name, _ in net.named_parameters()} - learnt == set()
