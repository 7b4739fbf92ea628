"""Files: one that is there, archives that may be broken, and never half of one in place of a finished one."""

import errno
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What zipfile raises of an archive that is broken, encrypted, or of a compression that it does not know.
BROKEN_ARCHIVE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


@contextmanager
def archive_read() -> Iterator[None]:
    """In the body all that zipfile raises of a broken archive is of ``BROKEN_ARCHIVE``.

    Of a damaged table of contents it is an OSError that names no file: it is asked for places before the
    beginning. Any other OSError says nothing of the file, and stays what it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise zipfile.BadZipFile("its table of contents is damaged") from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; it takes the real name only if the body ends well.

    Folders that are missing are made. When the body raises, the temporary file is removed and whatever was at
    ``path`` before stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def existing_file(path: str | Path) -> Path:
    """The path of a file that is there.

    Raises FileNotFoundError if nothing is there, ValueError if it is a folder or empty.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder, expected a file")
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: is empty (0 bytes)")
    return path
