"""Looking into a pickle of gigabytes without reading it: arrays stay in the file until they are sliced.

The other half of ``safe_pickle``, on whose stand-ins it runs.
"""

import copyreg
import mmap
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from retracker.data.pickle_sizes import check_sizes
from retracker.data.safe_pickle import BROKEN, UnsafePickleError, _finished, _Unpickler
from retracker.media.files import existing_file


def load_mapped(path: str | Path) -> Any:
    """What ``safe_pickle.load`` finds in a pickle or a .npy around one, but with arrays mapped from the file.

    They are read-only. Long bytes that are no array come as memory views. What protocol 2 and older ones
    write, bytes as text, is in memory all the same. Raises what ``safe_pickle.load`` raises.
    """
    path = existing_file(path)
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        if content[: len(npy.MAGIC_PREFIX)] == npy.MAGIC_PREFIX:
            _skip_header(content)
        check_sizes(content, content.tell())
        copyreg.clear_extension_cache()  # it would be asked before find_class
        value = _finished(_Mapped(content, str(path)).load(), {})
    except UnsafePickleError:
        raise
    except (*BROKEN, struct.error) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: cannot be read as a pickle ({reason})") from error
    return value.item() if getattr(value, "shape", None) == () else value


def let_go(array: np.ndarray) -> None:
    """Give back the memory of what was read so far of the file that an array is mapped from.

    All of it stays readable. Without this a video that is read from end to end counts as memory in use.
    """
    base = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    if base is not None and hasattr(base, "madvise"):  # Windows has none
        base.madvise(mmap.MADV_DONTNEED)


def _skip_header(content: mmap.mmap) -> None:
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    _, _, dtype = read_header[npy.read_magic(content)](content)
    if not dtype.hasobject:
        raise ValueError(f"it holds {dtype}")


class _Mapped(pickle._Unpickler):
    """Python's slow unpickler: the fast one cannot be told to step over bytes."""

    dispatch = dict(pickle._Unpickler.dispatch)
    find_class = _Unpickler.find_class
    persistent_load = _Unpickler.persistent_load

    def __init__(self, content: mmap.mmap, where: str) -> None:
        super().__init__(content, encoding="ascii", errors="surrogateescape")
        self.content, self.where = content, where

    def load_frame(self) -> None:
        self.read(8)  # how much to fetch at once: nothing to a map

    def load_long_bytes(self, length_format: str) -> None:
        (length,) = struct.unpack(length_format, self.read(struct.calcsize(length_format)))
        start = self.content.tell()
        self.content.seek(start + length)
        self.append(memoryview(self.content)[start : start + length])

    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BINBYTES[0]] = lambda self: self.load_long_bytes("<I")
    dispatch[pickle.BINBYTES8[0]] = lambda self: self.load_long_bytes("<Q")
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self.load_long_bytes("<Q")
