"""A net whose answers mean something, and a small clip to track through."""

import pytest
import torch

from retracker.data.datasets.synthetic import Synthetic
from retracker.geometry.coords import rescale


@pytest.fixture
def model(net):
    """The tiny net at a small working size, its layers of zeros shaken: with them much holds for nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    net.image_size = 64
    return net.eval()


@pytest.fixture(scope="session")
def sample():
    """An easy clip of 6 frames, 64 x 64, with 9 points born at various frames."""
    return Synthetic(length=1, difficulty="easy", num_frames=6, num_points=9, size=64, seed=3)[0]


@pytest.fixture
def queries(sample):
    """The sample's queries as one table (t, x, y). Float[N 3]"""
    return torch.cat([sample.queries.frame[:, None].float(), sample.queries.xy], dim=-1)


@pytest.fixture(scope="session")
def wide(sample):
    """The clip at another size and shape than the net works at, and a function that moves points there."""
    frames = torch.nn.functional.interpolate(sample.video.float(), (72, 120), mode="bilinear").to(torch.uint8)
    return frames, lambda xy: rescale(xy, (64, 64), (72, 120))
