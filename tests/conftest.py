"""What every room's tests start from: the real configuration, a tiny net, two small clips."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from retracker.checkpoint import build_net
from retracker.data.datasets.synthetic import Synthetic
from retracker.types import stack

CONFIGS = Path(__file__).parents[1] / "configs"


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run tests that take longer than a minute")


def pytest_collection_modifyitems(config, items):
    slow = pytest.mark.skip(reason="takes longer than a minute: run with --slow")
    gpu = pytest.mark.skip(reason="needs a CUDA device, and torch sees none")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(slow)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(gpu)


@pytest.fixture(autouse=True)
def threads():
    """A number of threads that a command sets ends with its test: later sums would round otherwise."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cfg():
    """The configuration of ``python -m retracker.train``, with nothing overridden."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        yield compose("train")


@pytest.fixture
def net(cfg):
    """The tiny net with random weights: the same in every test."""
    torch.manual_seed(0)
    return build_net(OmegaConf.to_container(cfg.model, resolve=True))


@pytest.fixture(scope="session")
def batch():
    """Two easy clips of 5 frames, 64 x 64, with 7 points each."""
    clips = Synthetic(length=2, difficulty="easy", num_frames=5, num_points=7, size=64, seed=0)
    return stack([clips[0], clips[1]])
