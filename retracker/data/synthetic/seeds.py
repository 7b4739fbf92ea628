"""Which seeds belong to whom: training and validation never meet."""

from retracker.data.synthetic.dice import mixed

RESERVED = 1 << 32  # seeds below are for validation and tests; training's are hashed to above


def training_seed(stream: int, index: int) -> int:
    """The seed of the ``index``-th clip of training stream ``stream``: never below ``RESERVED``."""
    if index < 0:
        raise ValueError(f"a training clip's index must be at least 0, got {index}")
    return RESERVED + mixed(stream, index) % (2**62 - RESERVED)


def check_training_seed(seed: int) -> None:
    """Raise ValueError for a seed that validation has reserved."""
    if seed < RESERVED:
        raise ValueError(f"seed {seed} is reserved for validation; training seeds start at {RESERVED}")
