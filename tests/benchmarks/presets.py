"""Benchmarks of pairs as the command makes them, under any preset."""

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate

CONFIGS = Path(__file__).parents[2] / "configs"


@cache
def composed(*overrides):
    """Composing takes longer than most tests."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose("eval", ["~matcher", "~tracker", "data_root=somewhere", *overrides])


def open_benchmark(name, root, *overrides):
    """What ``benchmark=<name> data_root=<root>`` and other overrides, such as protocol=roma, stand for.

    Raises what making it raises.
    """
    cfg = composed(f"benchmark={name}", *overrides).copy()
    cfg.data_root = str(root)
    try:
        return instantiate(cfg.benchmark, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ from None
