"""Reading pickles that come from outside: arrays, numbers, text and plain containers; nothing is ever called.

Public data sets are pickles under many names: ``.pkl`` (TAP-Vid), ``.npy`` around a dict (CoTracker-Kubric,
DKM), ``.npz`` with object arrays (D2-Net), or with nothing of an npz but the suffix (LoFTR). A pickle is a
program: ours runs on stand-ins for the few names that such data need, and its arrays are made afterwards.
"""

import copyreg
import math
import mmap
import pickle
import re
import tokenize
import zipfile
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from retracker.data.pickle_sizes import check_sizes
from retracker.media.files import BROKEN_ARCHIVE, archive_read, existing_file

# What the unpickler, numpy's header parser and zipfile raise when bytes are no instructions for them.
BROKEN = (
    pickle.UnpicklingError,
    *BROKEN_ARCHIVE,  # and RuntimeError: nesting that is too deep
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
    TypeError,
    ValueError,
)
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # an archive; an empty one
PLAIN_DTYPE = re.compile(r"[biufcSU]\d+|O\d*|\?")  # no records, dates or raw memory


class UnsafePickleError(ValueError):
    """A pickle asks for something that data does not need."""


def load(path: str | Path) -> Any:
    """The arrays, scalars and plain containers in a pickle, a .npy or a .npz, whatever the suffix says.

    An npz gives a dict; an object array without axes gives what is in it, such as the dict of ``np.save``.
    An OrderedDict becomes a dict. A string of Python 2 becomes text if it is ASCII, else bytes.
    Raises UnsafePickleError if the file asks for anything else, and ValueError if it is broken, both naming
    it; FileNotFoundError if it is missing.
    """
    path = existing_file(path)
    with path.open("rb") as file:
        return _read(file, str(path))


def loads(content: bytes, where: str) -> Any:
    """What ``load`` finds in a file of that content; ``where`` names it in messages."""
    return _read(BytesIO(content), where)


def _read(file: BufferedReader | BytesIO, where: str) -> Any:
    try:
        magic = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        if magic.startswith(ZIP):
            with archive_read():
                return _read_archive(file, where)
        return _read_npy(file, where) if magic == npy.MAGIC_PREFIX else _unpickled(file, where)
    except UnsafePickleError:
        raise
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{where}: cannot be read as a pickle, npy or npz ({reason})") from error


def _read_archive(file: BufferedReader | BytesIO, where: str) -> dict[str, Any]:
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return {name.removesuffix(".npy"): loads(content, f"{where}/{name}") for name, content in members.items()}


def _read_npy(file: BufferedReader | BytesIO, where: str) -> Any:
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    shape, fortran, dtype = read_header[npy.read_magic(file)](file)
    if dtype.hasobject:
        array = _unpickled(file, where)
        return array.item() if isinstance(array, np.ndarray) and array.ndim == 0 else array
    start = file.tell()
    raw = bytearray(file.seek(0, 2) - start)
    file.seek(start)
    file.readinto(raw)
    return _array(raw, shape, dtype, fortran=fortran)


def _unpickled(file: BufferedReader | BytesIO, where: str) -> Any:
    with _content(file) as content:
        check_sizes(content, file.tell())
    # A cached extension would be handed out without asking find_class.
    copyreg.clear_extension_cache()
    return _finished(_Unpickler(file, where).load(), {})


def _content(file: BufferedReader | BytesIO) -> memoryview | mmap.mmap:
    if isinstance(file, BytesIO):
        return file.getbuffer()
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BufferedReader | BytesIO, where: str) -> None:
        # Escaped bytes tell a binary string of Python 2 from text: see _text.
        super().__init__(file, encoding="ascii", errors="surrogateescape")
        self.where = where

    def find_class(self, module: str, name: str) -> "_Name":
        if (module, name) not in NAMES:
            raise UnsafePickleError(f"{self.where}: asks for {module}.{name}, which is not data")
        return NAMES[module, name]

    def persistent_load(self, reference: Any) -> None:
        raise UnsafePickleError(f"{self.where}: asks for an object outside of the file, {_told(reference)}")


class _Name:
    """Stands for a callable; unlike a function or a class, a pickle cannot change or instantiate it."""

    def __init__(self, make: Any) -> None:
        self.make = make

    def __call__(self, *arguments: Any) -> Any:
        return self.make(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("changes what it may only call")


class _Dtype:
    """Stands for a numpy.dtype, whose own state could make numpy take numbers for addresses."""

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not PLAIN_DTYPE.fullmatch(name):
            raise ValueError(f"an array of type {_told(name)}, not of numbers, text or objects")
        self.value = np.dtype(object if name.startswith("O") else name)

    def __setstate__(self, state: Any) -> None:
        _, byteorder, subarray, names, fields, *_ = state
        if (subarray, names, fields) != (None, None, None) or byteorder not in ("<", ">", "=", "|"):
            raise ValueError("an array of records")
        self.value = self.value.newbyteorder(byteorder)


class _Array:
    """Stands for an array until all that it holds is there: see _finished."""

    def __init__(self, kind: Any, shape: Any, _: Any) -> None:
        if kind is not NAMES["numpy", "ndarray"] or shape != (0,):
            raise ValueError("an array that is not made empty")
        self.state: tuple = ()

    def __setstate__(self, state: Any) -> None:
        self.state = tuple(state[-4:])  # a version number may come first

    def finished(self, seen: dict[int, Any]) -> np.ndarray:
        shape, dtype, fortran, raw = self.state
        dtype = _real(dtype)
        if not dtype.hasobject:
            return _array(raw, shape, dtype, fortran=fortran)
        if type(raw) is not list or len(raw) != _count(shape):
            raise ValueError(f"the objects of an array of shape {shape} are missing")
        items = (_finished(item, seen) for item in raw)  # always row by row
        return np.fromiter(items, dtype=object, count=len(raw)).reshape(shape)


def _array(raw: Any, shape: Any, dtype: np.dtype, *, fortran: bool) -> np.ndarray:
    raw = _as_bytes(raw)
    if _count(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"{len(raw)} bytes for an array {dtype} of shape {shape}")
    # Neither way copies much, and both give what may be written to: gigabytes of video are in memory once.
    if isinstance(raw, bytearray | memoryview):
        return np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
    array = np.ndarray(0, dtype)
    array.__setstate__((1, shape, dtype, bool(fortran), raw))
    return array


def _from_buffer(raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
    """An array of protocol 5; ``axes`` is the order in which those of memory are named."""
    if order == "K":
        return _array(raw, shape, _real(dtype), fortran=False).transpose(axes)
    return _array(raw, shape, _real(dtype), fortran=order == "F")


def _scalar(dtype: Any, raw: Any) -> np.generic:
    return _array(raw, (), _real(dtype), fortran=False)[()]


def _real(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise ValueError("an array without a type")
    return dtype.value


def _count(shape: Any) -> int:
    if not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"an array of shape {_told(shape)}")
    return math.prod(shape)


def _encoded(text: Any, encoding: Any) -> bytes:
    """Protocol 2 writes bytes as text of as many letters."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError(f"text to be encoded as {_told(encoding)}")
    return text.encode("latin1")


def _as_bytes(raw: Any) -> bytes | bytearray | memoryview:
    if isinstance(raw, str):  # of Python 2
        return raw.encode("ascii", "surrogateescape")
    if not isinstance(raw, bytes | bytearray | memoryview):
        raise ValueError(f"the memory of an array is a {type(raw).__name__}")
    return raw


def _bytearray(raw: Any = b"") -> bytearray:
    return bytearray(_as_bytes(raw))


def _told(value: Any) -> str:
    """A name for a message; what is nested may take for ever to write out."""
    return repr(value)[:50] if isinstance(value, str | int) else f"a {type(value).__name__}"


def _text(text: str) -> str | bytes:
    if text.isascii():
        return text
    try:
        return text.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:  # text of Python 3
        return text


NAMES = {
    ("collections", "OrderedDict"): _Name(dict),
    ("_codecs", "encode"): _Name(_encoded),
    ("numpy", "ndarray"): _Name(_Array),  # only compared with, for _Array
    ("numpy", "dtype"): _Name(_Dtype),
}
for core in ("numpy.core", "numpy._core"):
    NAMES[f"{core}.multiarray", "_reconstruct"] = _Name(_Array)
    NAMES[f"{core}.multiarray", "scalar"] = _Name(_scalar)
    NAMES[f"{core}.numeric", "_frombuffer"] = _Name(_from_buffer)
for builtins in ("builtins", "__builtin__"):
    NAMES |= {(builtins, kind.__name__): _Name(kind) for kind in (set, frozenset, complex)}
    NAMES[builtins, "bytearray"] = _Name(_bytearray)
    NAMES[builtins, "bytes"] = _Name(lambda: b"")  # how protocol 2 writes empty ones

CONTAINERS = (dict, list, tuple, set, frozenset, _Array)
LEAVES = (bool, int, float, complex, bytes, bytearray, memoryview, type(None))


def _finished(value: Any, seen: dict[int, Any]) -> Any:
    """The value with its arrays in place of their stand-ins; ``seen`` keeps what is shared shared."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if kind in LEAVES or isinstance(value, np.ndarray | np.generic):
        return value
    if kind not in CONTAINERS:
        raise ValueError(f"a {kind.__name__.strip('_')} is no data")
    if id(value) not in seen:
        seen[id(value)] = seen  # nothing that a pickle can hold
        if kind is _Array:
            seen[id(value)] = value.finished(seen)
        elif kind is dict:
            pairs = value.items()
            seen[id(value)] = {_finished(key, seen): _finished(item, seen) for key, item in pairs}
        else:
            seen[id(value)] = kind(_finished(item, seen) for item in value)
    if seen[id(value)] is seen:
        raise ValueError("a container that contains itself")
    return seen[id(value)]
