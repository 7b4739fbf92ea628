"""Files that were costly to fetch or decode, kept on local disk and shared by all workers and processes."""

import errno
import fcntl
import hashlib
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from retracker.host import flush

T = TypeVar("T")

LEAVE = 0.9  # of the limit, after an eviction: the next one is not due at once
FULL = (errno.ENOSPC, errno.EDQUOT)
SUFFIX = re.compile(r"\.[a-zA-Z0-9]{1,8}$")  # worth keeping: decoders and people look at it
MAKING = "making"  # the folder of files that are not complete
TOTAL = "total"  # the file with the size of all entries


class DiskCache:
    """Up to ``limit_gb`` (10^9 bytes) of files in ``folder``; the least recently used go first. 0: none.

        <folder>/3fa/3fa9...c1.786560.npy   an entry: what its key hashes to, and its size in bytes
        <folder>/making/3fa9...c1.lock .partial.npy   held while it is made; others who want it wait
        <folder>/total

    An entry appears by a rename when it is complete and on disk. A crash of the machine may still cut it;
    its size is in its name so that this shows without reading it. Nothing is open between calls, so that the
    cache may be forked and pickled, and a process may be killed at any time. A map of an entry outlives it.
    """

    def __init__(self, folder: str, limit_gb: float | int) -> None:
        if not 0 <= limit_gb < float("inf"):
            raise ValueError(f"cache: limit_gb must be at least 0 and finite, got {limit_gb}")
        self.folder, self.limit = Path(folder), int(limit_gb * 1e9)
        self.swept = self.warned = False

    def get(self, key: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
        """``load`` the entry of ``key``, which ``make`` writes to the path it is given if there is none.

        What is larger than the limit, or finds no room on the disk, is made and loaded but not kept. An entry
        that cannot be loaded is made again; errors of ``make``, and of ``load`` then, are the caller's.
        """
        if not self.limit:
            return _passing(key, make, load)
        name = hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        try:
            return self._loaded(name, load)
        except (OSError, ValueError):  # never made, just evicted, or damaged
            pass
        try:
            return self._made(name, _suffix(key), make, load)
        except OSError as error:
            if error.errno not in FULL:
                raise
        if not self.warned:
            warnings.warn(f"{self.folder}: no room left on the disk, not caching what is new", stacklevel=2)
            self.warned = True
        return _passing(key, make, load)

    def _loaded(self, name: str, load: Callable[[Path], T]) -> T:
        entry = self._entry(name)
        with suppress(OSError):  # it is another user's, or on a disk that is only read
            os.utime(entry, ns=(time.time_ns(),) * 2)  # 2 us: cheaper than to know whether it is needed
        return load(entry)

    def _entry(self, name: str) -> Path:
        """The complete entry of that name. Raises FileNotFoundError if there is none."""
        folder = self._shelf(name)
        for found in os.listdir(folder):
            if found.startswith(name) and _size(found) == (folder / found).stat().st_size:
                return folder / found
        raise FileNotFoundError(folder / name)

    def _shelf(self, name: str) -> Path:
        return self.folder / name[:3]  # 4096 of them: a million entries are 250 names to look through

    def _made(self, name: str, suffix: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
        making = self.folder / MAKING
        making.mkdir(parents=True, exist_ok=True)
        if not self.swept:
            self.swept = True
            _sweep(making)
        with _locked(making / f"{name}.lock"):
            with suppress(OSError, ValueError):  # who held the lock before may have made it
                return self._loaded(name, load)
            partial = making / f"{name}.partial{suffix}"
            try:
                make(partial)
                flush(partial)
                # Loaded before anybody can evict it; and what cannot be loaded is not kept.
                value = load(partial)
                self._keep(partial, name, suffix)
            finally:
                partial.unlink(missing_ok=True)
        return value

    def _keep(self, partial: Path, name: str, suffix: str) -> None:
        size = partial.stat().st_size
        if size > self.limit:
            return
        shelf = self._shelf(name)
        shelf.mkdir(exist_ok=True)
        with _locked(self.folder / TOTAL, remove=False) as file:
            # Counted before it is there: whoever is killed in between leaves a total that is too high, which
            # the next eviction corrects, and never one that is too low.
            total = self._total(file) + size
            _write(file, total)
            for damaged in [found for found in os.listdir(shelf) if found.startswith(name)]:
                (shelf / damaged).unlink(missing_ok=True)
            os.utime(partial, ns=(time.time_ns(),) * 2)
            os.replace(partial, shelf / f"{name}.{size}{suffix}")
            if total > self.limit:
                _write(file, self._evict())

    def _total(self, file: int) -> int:
        text = os.pread(file, 32, 0)
        return int(text) if text.strip().isdigit() else sum(size for _, size, _ in self._entries())

    def _entries(self) -> list[tuple[int, int, str]]:
        """(time of last use, size, path) of every entry."""
        entries = []
        for shelf in self.folder.glob("[0-9a-f]" * 3):
            for file in os.scandir(shelf):
                with suppress(FileNotFoundError):
                    entries.append((file.stat().st_mtime_ns, file.stat().st_size, file.path))
        return entries

    def _evict(self) -> int:
        """Remove what was not used for longest; the bytes that are left."""
        _sweep(self.folder / MAKING)
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries[:-1]:
            if total <= LEAVE * self.limit:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
        return total


def _passing(key: str, make: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """Make, load and forget."""
    with tempfile.TemporaryDirectory(prefix="retracker-") as folder:
        path = Path(folder) / f"file{_suffix(key)}"
        make(path)
        return load(path)


def _suffix(key: str) -> str:
    found = SUFFIX.search(key)
    return found.group() if found else ""


def _size(name: str) -> int:
    """The size that an entry's name tells; -1 if it tells none."""
    size = name.split(".")[1:2]
    return int(size[0]) if size and size[0].isdigit() else -1


def _write(file: int, total: int) -> None:
    os.pwrite(file, b"%-20d\n" % total, 0)  # always as long: no old digit stays behind


@contextmanager
def _locked(path: Path, *, remove: bool = True, wait: bool = True) -> Iterator[int]:
    """Hold a lock file, one process or thread at a time; the kernel lets go of it if this one is killed.

    Raises BlockingIOError if another holds it and ``wait`` is false.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if not _is_named(file, path):  # removed by its last holder while we waited
                continue
            try:
                yield file
            finally:
                if remove:
                    path.unlink(missing_ok=True)
                fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has the file open, too
            return
        finally:
            os.close(file)


def _is_named(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sweep(making: Path) -> None:
    """Remove what processes that were killed left half-made: that of which nobody holds the lock."""
    for name in {found.split(".")[0] for found in os.listdir(making)}:
        with suppress(BlockingIOError), _locked(making / f"{name}.lock", wait=False):
            for partial in making.glob(f"{name}.partial*"):
                partial.unlink(missing_ok=True)
