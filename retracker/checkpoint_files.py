"""Checkpoints as files: written whole or not at all, with their hash inside, rotated, and found again.

The hash is the comment of the zip archive that torch writes (``unzip -z last.ckpt`` shows it), so that it
comes and goes with the file in one rename, and a copy can be checked wherever it is taken.
"""

import hashlib
import os
import re
import warnings
import zipfile
from contextlib import suppress
from io import IOBase
from itertools import pairwise
from math import inf
from pathlib import Path

import torch

from retracker.backbone_weights import read_torch
from retracker.host import flush

MARK = b"sha256:"
COMMENT = len(MARK) + 64  # hexadecimal digits
LENGTH = 2  # bytes: a zip archive ends in the length of its comment, and the comment
ZIP, ZIP_END, PLAIN_END = (
    b"PK\3\4",
    b"PK\5\6",
    22,
)  # how it begins, and how one without comment ends: in 22 bytes
CHUNK = 2**22
LAST = re.compile(r"last(?:\.(\d+))?\.ckpt")  # the names of last states
SOUND: set[tuple[Path, int, int]] = set()  # path, size and time of what this process has found to be whole


def write_atomically(checkpoint: object, path: str | Path, *, keep: int = 1) -> None:
    """Save with torch under a temporary name, read it back, then rename: ``path`` is never half a file.

    Of what was there the last ``keep - 1`` stay, as last.1.ckpt (the newest), last.2.ckpt and so on. Raises
    ValueError if what was written cannot be loaded again, OSError if it cannot be written; the files at
    ``path`` then stay as they were, and nothing is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        write_hashed(checkpoint, unfinished)
        verify(unfinished)
        read_torch(unfinished, mmap=True)
        hand_down(path, keep)
        settle(unfinished, path)
    finally:
        with suppress(OSError):  # of a folder that cannot be written to either
            unfinished.unlink(missing_ok=True)


def verify(path: Path) -> None:
    """Raise ValueError if a file is not what was saved; one without a hash (another program's) may be."""
    size = path.stat().st_size
    with path.open("rb") as file:
        is_zip = file.read(len(ZIP)) == ZIP
        file.seek(max(0, size - LENGTH - COMMENT))
        end = file.read()
        if end[:LENGTH] != COMMENT.to_bytes(LENGTH, "little") or not end[LENGTH:].startswith(MARK):
            plain = end[-PLAIN_END:].startswith(ZIP_END) and end.endswith(bytes(LENGTH))
            if is_zip and not plain:
                raise ValueError(f"{path}: damaged: it was cut off or added to after it was saved")
            return
        file.seek(0)
        if hash_of(file, size - LENGTH - COMMENT) != end[LENGTH + len(MARK) :]:
            raise ValueError(f"{path}: damaged: its content is not what was saved (its hash differs)")


def verify_once(path: Path) -> None:
    """``verify``, but for a file that this process has found to be sound and that has not changed since."""
    status = path.stat()
    seen = (path.resolve(), status.st_size, status.st_mtime_ns)
    if seen not in SOUND:
        verify(path)
        SOUND.add(seen)


def torn(path: Path) -> bool:
    """Whether a file's hash or its archive is wrong; raises OSError if it cannot be read."""
    try:
        verify(path)
    except ValueError:
        return True
    with path.open("rb") as file:
        return not zipfile.is_zipfile(file)


def newest_valid(directory: str | Path) -> Path | None:
    """The .ckpt file of the most steps that can be loaded whole, or None if there is none to resume from.

    Damaged files are passed over with a warning that names them. Raises OSError if one could not be read.
    """
    found, damaged = survey(directory)
    for fault in damaged.values():
        warnings.warn(f"passed over: {fault}", stacklevel=2)
    return found


def survey(directory: str | Path) -> tuple[Path | None, dict[Path, str]]:
    """What ``newest_valid`` finds, and what is wrong with each file that has more steps or cannot be loaded.

    Of as many steps last.ckpt comes first, then last.1.ckpt and so on, best.ckpt, and whatever is newer:
    times alone are not those of writing where files were copied.
    """
    steps, damaged = {}, {}
    for path in newest_first(directory):
        with suppress(FileNotFoundError):  # handed down meanwhile
            try:
                steps[path] = steps_of(path)
            except ValueError as error:
                damaged[path] = str(error)
    for path in sorted(steps, key=lambda path: (-steps[path], age_of(path))):  # stable: then by time
        with suppress(FileNotFoundError):
            try:
                verify_once(path)
                return path, damaged
            except ValueError as error:
                damaged[path] = str(error)
    return None, damaged


def steps_of(path: Path) -> int:
    """How many steps a checkpoint has behind it. Raises ValueError if it is not one of a training run."""
    try:
        checkpoint = read_torch(path, mmap=True)
        if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
            raise ValueError(f"{path}: not a checkpoint of a training run")
    except ValueError:
        verify_once(path)  # which says so if it is damaged
        raise
    found = checkpoint.get("global_step", 0)
    return found if isinstance(found, int) else 0


def age_of(path: Path) -> float | int:
    """0 for last.ckpt, 1 for last.1.ckpt and so on; more than that for all others."""
    named = LAST.fullmatch(path.name)
    return int(named[1] or 0) if named else inf


def newest_first(directory: str | Path) -> list[Path]:
    """The .ckpt files of a folder; of two names of one file the one that is replaced last."""
    times = {}
    for path in sorted(Path(directory).glob("*.ckpt"), key=lambda path: len(path.name)):
        with suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime_ns
    return sorted(times, key=lambda path: -times[path])


def clear_unfinished(directory: str | Path) -> list[Path]:
    """Remove what runs that were killed while they saved have left, and say what that was."""
    left = list(Path(directory).glob(".*.unfinished"))
    for path in left:
        path.unlink(missing_ok=True)
    return left


def unfinished_name(path: Path) -> Path:
    """Where a file is written until it is whole: two processes never write to one."""
    return path.with_name(f".{path.name}.{os.getpid()}.unfinished")


def hand_down(path: Path, keep: int) -> None:
    """Call last.2.ckpt what was last.1.ckpt and so on, and last.ckpt both, until it is replaced."""
    names = [path, *(path.with_name(f"{path.stem}.{age}{path.suffix}") for age in range(1, keep))]
    for newer, older in reversed(list(pairwise(names)) if path.exists() else []):
        if newer == path:
            link(path, older)
        elif newer.exists():
            newer.replace(older)
    for spare in path.parent.glob(f"{path.stem}.*{path.suffix}"):
        age = spare.name.removeprefix(f"{path.stem}.").removesuffix(path.suffix)
        if age.isdecimal() and int(age) >= keep:  # more were kept before
            spare.unlink(missing_ok=True)


def link(path: Path, other: Path) -> None:
    """Give a file a second name, or, where a file system cannot, only that one."""
    try:
        other.unlink(missing_ok=True)
        other.hardlink_to(path)
    except OSError:
        path.replace(other)


def settle(unfinished: Path, path: Path) -> None:
    """See to it that a finished file is on disk, and then under its name."""
    flush(unfinished)
    os.replace(unfinished, path)
    with suppress(OSError):  # not every file system knows how to flush a folder
        flush(path.parent)


def write_hashed(checkpoint: object, path: Path) -> None:
    """``torch.save`` with the hash of all that comes before it as the comment of the archive."""
    with path.open("wb", buffering=0) as file:
        writer = HashedWriter(file)
        try:
            torch.save(checkpoint, writer)
        except RuntimeError:
            if writer.fault is not None:  # torch only says that it stands where it should not
                raise writer.fault from None
            raise
        writer.sign()
        os.fsync(file.fileno())


class HashedWriter:
    """A file to write to that knows the hash of what was written, but for its last two bytes."""

    def __init__(self, file: IOBase) -> None:
        self.file, self.hash, self.end = file, hashlib.sha256(), b""
        self.fault: OSError | None = None

    def write(self, content: bytes | memoryview) -> int:
        """Write all of it."""
        view, written = memoryview(content).cast("B"), 0
        try:
            while written < len(view):
                written += self.file.write(view[written:])
        except OSError as error:
            self.fault = error
            raise
        self.hash.update(self.end if len(view) >= LENGTH else b"")
        self.hash.update(view[:-LENGTH] if len(view) >= LENGTH else (self.end + bytes(view))[:-LENGTH])
        self.end = (self.end + bytes(view[-LENGTH:]))[-LENGTH:]
        return len(view)

    def flush(self) -> None:
        """Nothing is held back."""

    def sign(self) -> None:
        """Replace the length 0 of the archive's comment, its last bytes, by a comment."""
        self.file.seek(-LENGTH, os.SEEK_END)
        comment = MARK + self.hash.hexdigest().encode()
        self.write(len(comment).to_bytes(LENGTH, "little") + comment)


def hash_of(file: IOBase, size: int) -> bytes:
    """The hash of the first so many bytes of a file, as hexadecimal digits."""
    found = hashlib.sha256()
    while size > 0 and (part := file.read(min(CHUNK, size))):
        found.update(part)
        size -= len(part)
    return found.hexdigest().encode()
