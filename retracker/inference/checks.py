"""What every function of this room is given: a net that follows points, and thresholds of probability."""

from torch import nn

from retracker.models.descriptor import FeatureBooster


def check_tracker(net: nn.Module, name: str = "model") -> None:
    """Raise ValueError, beginning with ``name``, for a net that follows no points."""
    if not (hasattr(net, "encode") and hasattr(net, "step")):
        hint = " (see retracker boost)" if isinstance(net, FeatureBooster) else ""
        found = type(net).__name__
        raise ValueError(f"{name}: expected a net that follows points, which a {found} does not{hint}")


def check_probability(name: str, value: float | int | None) -> None:
    """Raise ValueError, beginning with ``name``, for a number that is given and not in [0, 1]."""
    if value is not None and not 0 <= value <= 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value:g}")
