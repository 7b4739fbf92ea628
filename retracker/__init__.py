"""ReTracker: follow any points through a video, online and causally."""

import importlib
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retracker.checkpoint import load
    from retracker.inference.clip import track
    from retracker.inference.online import OnlineTracker
    from retracker.inference.pair import PairMatcher, match
    from retracker.inference.predictor import CoTrackerOnlinePredictor, CoTrackerPredictor
    from retracker.inference.queries import Dense, Grid, Mask
    from retracker.inference.verification import verify
    from retracker.inference.warp import warp

__all__ = [
    "CoTrackerOnlinePredictor",
    "CoTrackerPredictor",
    "Dense",
    "Grid",
    "Mask",
    "OnlineTracker",
    "PairMatcher",
    "load",
    "match",
    "track",
    "verify",
    "warp",
]

# Where each public name lives; looked up on first use, so that importing one room does not import all of
# them.
_HOMES = MappingProxyType(
    {
        "CoTrackerOnlinePredictor": "retracker.inference.predictor",
        "CoTrackerPredictor": "retracker.inference.predictor",
        "Dense": "retracker.inference.queries",
        "Grid": "retracker.inference.queries",
        "Mask": "retracker.inference.queries",
        "OnlineTracker": "retracker.inference.online",
        "PairMatcher": "retracker.inference.pair",
        "load": "retracker.checkpoint",
        "match": "retracker.inference.pair",
        "track": "retracker.inference.clip",
        "verify": "retracker.inference.verification",
        "warp": "retracker.inference.warp",
    }
)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'retracker' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
