"""Whether the files of a benchmark are there: by name alone, so that asking costs nothing."""

from collections.abc import Sequence
from fnmatch import fnmatch

from retracker.data.storage import Storage


def found(root: str, needs: Sequence[str]) -> str | None:
    """The first path below ``root`` (a folder or a URL) that is one of ``needs``, patterns such as
    ``robotap/robotap_split*.pkl``; None if there is none. Raises FileNotFoundError if there is no root."""
    storage = Storage(root, None)
    return next((path for pattern in needs for path in _matches(storage, "", pattern.split("/"))), None)


def check_found(root: str, needs: Sequence[str], title: str) -> str:
    """As ``found``; raises FileNotFoundError, saying what was looked for, if there is none."""
    path = found(root, needs)
    if path is None:
        raise FileNotFoundError(f"{root}: has nothing of {title}; expected {' or '.join(needs)} in it")
    return path


def _matches(storage: Storage, folder: str, parts: Sequence[str]) -> list[str]:
    names = [name for name in storage.names(folder) if fnmatch(name, parts[0])]
    paths = [f"{folder}/{name}".lstrip("/") for name in names]
    if len(parts) == 1:
        return paths
    return [found for path in paths for found in _matches(storage, path, parts[1:])]
