"""Packages that only one contestant needs."""

import importlib
from types import ModuleType


def import_optional(module: str, package: str) -> ModuleType:
    """A module of an optional package; raises ValueError, saying how to install it, if it cannot be had."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"{module} cannot be imported ({error}); pip install --no-deps {package}, and what it names"
        ) from error
