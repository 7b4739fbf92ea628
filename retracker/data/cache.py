"""Files that were costly to fetch or decode, kept on local disk and shared by all workers and processes."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class DiskCache:
    """Up to ``limit_gb`` (10^9 bytes) of files in ``folder``; the least recently used go first. 0: none."""

    def __init__(self, folder: str, limit_gb: float | int) -> None:
        if limit_gb < 0:
            raise ValueError(f"cache: limit_gb must be at least 0, got {limit_gb}")
        self.folder, self.limit = Path(folder), int(limit_gb * 1e9)

    def get(self, key: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
        """``load`` the entry of ``key``, which ``make`` writes to the path it is given if there is none."""
        raise NotImplementedError
