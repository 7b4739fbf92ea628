"""Arrays in an .npz file, each on its own, and mapped from the file where they are not compressed."""

import struct
import tokenize
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from retracker.media.files import BROKEN_ARCHIVE, archive_read, existing_file

# What zipfile and numpy's header parser raise when bytes are no archive or no array.
BROKEN = (
    *BROKEN_ARCHIVE,
    struct.error,
    tokenize.TokenError,
    SyntaxError,
    TypeError,
    ValueError,
)
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of what follows it
ENCRYPTED = 0x1  # a flag of a member
SUFFIX = ".npy"


def npz_names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an .npz file. Raises ValueError, naming it, if it is no such file."""
    with _opened(path) as archive:
        return tuple(name.removesuffix(SUFFIX) for name in archive.namelist())


def read_npz_array(path: Path, name: str) -> np.ndarray:
    """One array of an .npz file. What ``np.savez`` writes is mapped: slicing reads no more than the slice; it
    is read-only, and no checksum is looked at.

    Raises ValueError, naming the file, if it is broken, has no such array, or one of pickled objects.
    """
    with _opened(path) as archive:
        names = archive.namelist()
        if name + SUFFIX not in names:
            there = ", ".join(sorted(other.removesuffix(SUFFIX) for other in names)) or "none"
            raise ValueError(f"has no array {name!r}, only {there}")
        member = archive.getinfo(name + SUFFIX)
        if member.compress_type == zipfile.ZIP_STORED:
            return _mapped(path, member)
        with archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    path = existing_file(path)
    try:
        with archive_read(), zipfile.ZipFile(path) as archive:
            yield archive
    except BROKEN as error:
        raise ValueError(
            f"{path}: {str(error).splitlines()[0] if str(error) else 'ends too early'}"
        ) from error


def _mapped(path: Path, member: zipfile.ZipInfo) -> np.ndarray:
    if member.flag_bits & ENCRYPTED:
        raise ValueError(f"{member.filename} is encrypted")
    with path.open("rb") as file:
        file.seek(member.header_offset)
        signature, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
        if signature != b"PK\x03\x04":
            raise ValueError(f"{member.filename} is not where the archive says")
        file.seek(name_length + extra_length, 1)
        start = file.tell()
        shape, fortran, dtype = _header(file)
        begin = file.tell()
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        if begin - start + size > member.file_size:
            raise ValueError(f"{member.filename} ends too early for an array {dtype} of shape {shape}")
        if size == 0:
            return np.empty(shape, dtype)
        return np.asarray(np.memmap(file, dtype, "r", begin, shape, "F" if fortran else "C"))


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the npy format is not supported")
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("an array of pickled objects")
    return shape, fortran, dtype
