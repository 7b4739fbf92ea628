"""Whether the files of a benchmark are there: by name alone, so that asking costs nothing."""

from collections.abc import Sequence
from fnmatch import fnmatch

from retracker.data.storage import Storage


def found(root: str, needs: Sequence[str]) -> list[str]:
    """The paths below ``root`` (a folder or a URL) that are one of ``needs``, patterns such as
    ``robotap/robotap_split*.pkl``. Raises FileNotFoundError if there is no root."""
    storage = Storage(root, None)
    return [path for pattern in needs for path in _matches(storage, "", pattern.split("/"))]


def identities(root: str, needs: Sequence[str]) -> list[str]:
    """Name, size and time of each of those files (of folders, only the name): what changes when they do."""
    storage = Storage(root, None)
    return [_identity(storage, path) for path in found(root, needs)]


def check_found(root: str, needs: Sequence[str], title: str) -> str:
    """The first of those paths; raises FileNotFoundError, saying what was looked for, if there is none."""
    paths = found(root, needs)
    if not paths:
        raise FileNotFoundError(f"{root}: has nothing of {title}; expected {' or '.join(needs)} in it")
    return paths[0]


def _identity(storage: Storage, path: str) -> str:
    try:
        return storage.files.identity(path)
    except ValueError:  # a folder has none
        return path


def _matches(storage: Storage, folder: str, parts: Sequence[str]) -> list[str]:
    names = [name for name in storage.names(folder) if fnmatch(name, parts[0])]
    paths = [f"{folder}/{name}".lstrip("/") for name in names]
    if len(parts) == 1:
        return paths
    return [found for path in paths for found in _matches(storage, path, parts[1:])]
