"""Data come out of pickles as they went in; programs do not run, whatever they hide in."""

import copyreg
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest

from retracker.data.safe_pickle import UnsafePickleError, load, loads

PROTOCOLS = (2, 3, 4, 5)


def same(one, other):
    """Equal in values, types and order, also inside object arrays."""
    if isinstance(other, OrderedDict):
        other = dict(other)
    assert type(one) is type(other)
    if isinstance(other, dict):
        assert list(one) == list(other)
        one, other = list(one.values()), list(other.values())
    if isinstance(other, np.ndarray):
        assert one.dtype == other.dtype and one.shape == other.shape
        if other.dtype != object:
            return np.testing.assert_array_equal(one, other)
        one, other = list(one.ravel()), list(other.ravel())
    if isinstance(other, list | tuple):
        assert len(one) == len(other)
        return [same(a, b) for a, b in zip(one, other, strict=True)]
    assert one == other


def tapvid():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    points = rng.random((3, 4, 2), dtype=np.float32)
    occluded = rng.random((3, 4)) < 0.5
    jpegs = [b"\xff\xd8\xff\xe0" + bytes([t]) for t in range(4)]
    return {
        "bear": {"video": video, "points": points, "occluded": occluded},
        "car": {"video": jpegs, "points": np.asfortranarray(points), "occluded": occluded[:, ::2]},
    }


def megadepth():
    """LoFTR's index: unused slots are None."""
    return {
        "image_paths": np.array([None, "Undistorted_SfM/0015/images/a.jpg", "b.jpg"], dtype=object),
        "depth_paths": np.array([None, "depth_undistorted/0015/a.h5", None], dtype=object),
        "intrinsics": objects([None, np.eye(3), np.eye(3) * 2]),
        "poses": objects([None, np.eye(4), np.eye(4) * 2]),
        "pair_infos": [
            (np.array([1, 2]), 0.25, np.array([10.0, 20.0, 30.0, 40.0])),
            (np.array([2, 1]), np.float64(0.5), np.array([1.0, 2.0, 3.0, 4.0])),
        ],
    }


def objects(items):
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


def odds_and_ends():
    return {
        "scalars": [True, 3, -(2**80), 2.5, 1 + 2j, None, np.float32(0.5), np.bool_(1), np.int64(7)],
        "texts": ["", "plain", "Züri ⛰", np.array(["a", "Zü"]), np.array([b"ab", b"c"])],
        "bytes": [b"", b"\x00\xff", bytearray(b"\x01")],
        "sets": [set(), {1, 2}, frozenset({"a"})],
        "ordered": OrderedDict(z=1, a=np.arange(3)),
        "arrays": [np.zeros((0, 2)), np.array(3.0), np.arange(24).reshape(2, 3, 4).transpose(0, 2, 1)],
        "square": objects([None] * 4).reshape(2, 2).T,
        "half": np.ones(3, np.float16),
        np.int64(3): "a numpy key",
        (1, "a"): "a tuple as a key",
    }


CONTENTS = {"tapvid": tapvid, "megadepth": megadepth, "odds_and_ends": odds_and_ends}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_data_come_back_as_they_were(tmp_path, content, protocol):
    for name in ("data.pkl", "index.npz", "no_suffix"):  # LoFTR's index is a bare pickle named .npz
        (tmp_path / name).write_bytes(pickle.dumps(content(), protocol))
        same(load(tmp_path / name), content())


def test_names_of_older_numpy_mean_the_same():
    for protocol in PROTOCOLS:
        content = pickle.dumps(megadepth(), protocol)
        assert (b"numpy._core" in content) or protocol > 3
        if protocol < 4:  # there a name ends with the line; later its length would change
            same(loads(content.replace(b"numpy._core", b"numpy.core"), "old"), megadepth())


def test_arrays_may_be_written_to_and_keep_their_order():
    for protocol in PROTOCOLS:
        clip = loads(pickle.dumps(tapvid(), protocol), "clip")
        assert clip["bear"]["video"].flags.writeable
        assert clip["car"]["points"].flags.f_contiguous


def test_foreign_byte_order_is_understood():
    numbers = np.arange(4, dtype=">f4")
    for protocol in PROTOCOLS:
        np.testing.assert_array_equal(loads(pickle.dumps(numbers, protocol), "big-endian"), numbers)


def test_what_is_shared_stays_shared():
    frames = np.zeros(3)
    one, other = loads(pickle.dumps([frames, (frames,)]), "twice")
    assert one is other[0]


def test_a_dict_saved_as_npy_is_the_dict(tmp_path):
    np.save(tmp_path / "annot.npy", tapvid())
    same(load(tmp_path / "annot.npy"), tapvid())


def test_npy_files_are_read(tmp_path):
    for array in (np.arange(6.0).reshape(2, 3), np.asfortranarray(np.eye(3)), np.array(2), np.zeros((0, 4))):
        np.save(tmp_path / "a.npy", array)
        same(load(tmp_path / "a.npy"), array)
    np.save(tmp_path / "a.npy", objects([None, "a"]))
    same(load(tmp_path / "a.npy"), objects([None, "a"]))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_true_npz_is_a_dict_also_with_objects_inside(tmp_path, save):
    content = {**megadepth(), "overlap_matrix": np.eye(3), "pair_infos": np.array(1)}
    save(tmp_path / "0015.npz", **content)
    same(load(tmp_path / "0015.npz"), content)
    save(tmp_path / "empty.npz")
    assert load(tmp_path / "empty.npz") == {}


def test_a_pickle_of_python_2_gives_text_for_ascii_and_bytes_for_the_rest():
    # {'name': 'bear', 'jpeg': '\xff\xd8', u'Z\xfcri': 1L} and numpy.arange(2, dtype='u1') as 2.7 writes them.
    written = (
        b"\x80\x02(}(U\x04nameU\x04bearU\x04jpegU\x02\xff\xd8X\x05\x00\x00\x00Z\xc3\xbcri\x8a\x01\x01u"
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x02\x00\x01tbt."
    )
    texts, array = loads(written, "old.pkl")
    assert texts == {"name": "bear", "jpeg": b"\xff\xd8", "Züri": 1}
    same(array, np.arange(2, dtype=np.uint8))


# --- what is refused


class Call:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def by_name(module, name, argument, *, call=b"R"):
    """A call by GLOBAL, in the oldest protocol."""
    return f"c{module}\n{name}\n(V{argument}\nt".encode() + call + b"."


def stack_global(module, name, argument):
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name))
    last = argument.encode()
    return b"\x80\x04" + texts + b"\x93X" + struct.pack("<I", len(last)) + last + b"\x85R."


def attacks(mark):
    """Pickles that make the file ``mark``, each in its own way."""
    touch = f"touch {mark}"
    python = f"open({str(mark)!r}, 'w').close()"
    call = Call(os.system, touch)
    yield "os.system", pickle.dumps(call)
    yield "posix.system", by_name("posix", "system", touch)
    yield "eval", pickle.dumps(Call(eval, python))
    yield "eval of Python 2", by_name("__builtin__", "eval", python)
    yield "exec", pickle.dumps(Call(exec, python))
    yield "open", pickle.dumps(Call(open, str(mark), "w"))
    yield "nested", pickle.dumps({"a": [(1, {"b": Call(dict, [[1, call]])})]})
    yield "in an object array", pickle.dumps(objects([1, call]))
    yield "in an object array of a dict", pickle.dumps({"video": np.zeros(2), "names": objects([call])})
    yield "getattr", pickle.dumps(Call(getattr, Call(__import__, "os"), "system"))
    yield "getattr, called", b"cbuiltins\ngetattr\n(cos\nsystem\nV__call__\ntR(V" + touch.encode() + b"\ntR."
    yield "dotted name", stack_global("numpy", "f2py.os.system", touch)
    yield "numpy's own", stack_global("numpy.f2py.diagnose", "run_command", touch)
    yield "numpy.load", pickle.dumps(Call(np.load, str(mark)))
    yield "copyreg", pickle.dumps(Call(copyreg._reconstructor, Call, object, None))
    yield "instance of a class", b"(V" + touch.encode() + b"\nios\nsystem\n."
    yield "OBJ", b"(cos\nsystem\nV" + touch.encode() + b"\no."
    yield "STACK_GLOBAL", stack_global("os", "system", touch)
    yield "NEWOBJ", by_name("os", "system", touch, call=b"\x81")
    yield "NEWOBJ of a class", by_name("subprocess", "Popen", touch, call=b"\x81")
    yield "NEWOBJ_EX", b"\x80\x04csubprocess\nPopen\n(V" + touch.encode() + b"\nt}\x92."
    yield "a name alone", b"cos\nsystem\n."
    yield "defaultdict", pickle.dumps(defaultdict(list))
    yield "persistent id", b"Pos.system\n."
    yield "persistent id in binary", b"Vos.system\nQ."


def test_no_program_is_run(tmp_path):
    mark = tmp_path / "mark"
    for name, content in attacks(mark):
        path = tmp_path / f"{name}.pkl"
        path.write_bytes(content)
        with pytest.raises(UnsafePickleError, match=f"{name}.pkl: asks for") as caught:
            load(path)
        assert "\n" not in str(caught.value) and not mark.exists(), name


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_no_program_is_run_from_a_numpy_file(tmp_path, suffix):
    mark, path = tmp_path / "mark", tmp_path / f"annot.{suffix}"
    hidden = objects([1.0, Call(os.system, f"touch {mark}")])
    for content in (hidden, {"deep": [hidden]}):
        if suffix == "npy":
            np.save(path, content)
        else:
            np.savez(path, fine=np.zeros(3), trap=content)
        with pytest.raises(UnsafePickleError, match=r"annot\.np.*asks for posix\.system"):
            load(path)
    assert not mark.exists()


def test_the_attacks_work_on_an_unpickler_without_restrictions(tmp_path):
    mark = tmp_path / "mark"
    for name, content in attacks(mark):
        if name in ("os.system", "eval", "in an object array", "instance of a class", "OBJ", "STACK_GLOBAL"):
            pickle.loads(content)
            assert mark.exists(), name
            mark.unlink()


@pytest.mark.parametrize("opcode", [b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00"])
def test_registered_extensions_are_refused_even_once_cached(tmp_path, opcode):
    mark = tmp_path / "mark"
    program = b"\x80\x02" + opcode + f"(V touch {mark}\ntR.".encode()
    copyreg.add_extension("posix", "system", 0xF0)
    try:
        pickle.loads(program)
        assert mark.exists()
        mark.unlink()
        with pytest.raises(UnsafePickleError, match=r"posix\.system"):
            loads(program, "extension")
        assert not mark.exists()
    finally:
        copyreg.remove_extension("posix", "system", 0xF0)


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
EMPTY = RECONSTRUCT + b"cnumpy\nndarray\n(I0\ntVb\n\x87R"
DTYPE = b"cnumpy\ndtype\n(V%b\ntR"
STATE = b"(I3\nV<\n%bI-1\nI-1\nI%b\ntb"
NONES = b"NNN"

TRICKS = {
    "a huge empty array": RECONSTRUCT + b"cnumpy\nndarray\n(I1000000000000\ntVb\n\x87R.",
    "an array class that is called": b"cnumpy\nndarray\n(I1000000000000\ntR.",
    "another array class": RECONSTRUCT + b"cbuiltins\nset\n(I0\ntVb\n\x87R.",
    "a huge array without memory": EMPTY + b"((I1000000\nI1000000\nt" + DTYPE % b"f8" + b"I00\nC\x00tb.",
    "objects without a list": EMPTY + b"((I1000000000000\nt" + DTYPE % b"O" + b"I00\n]tb.",
    "objects made of bytes": EMPTY + b"((I1\nt" + DTYPE % b"O8" + b"I00\nC\x08AAAAAAAAtb.",
    "objects whose type says numbers": EMPTY
    + b"((I1\nt"
    + DTYPE % b"O8"
    + STATE % (NONES, b"0")
    + b"I00\nC\x08AAAAAAAAtb.",
    "a negative side": EMPTY + b"((I-1\nI-1\nt" + DTYPE % b"u1" + b"I00\nC\x01Atb.",
    "a record": DTYPE % b"u1" + STATE % (b"N(Va\ntN", b"0") + b".",
    "a subarray": DTYPE % b"V8" + b".",
    "a list of fields as a type": DTYPE % b"u1,O" + b".",
    "a type alone": DTYPE % b"u1" + b".",
    "a name alone": b"cnumpy\nndarray\n.",
    "a name among data": b"(lcbuiltins\nset\na.",
    "a name that is changed": b"c_codecs\nencode\n(N}Vmake\ncbuiltins\nset\nstb.",
    "a name as a class": b"cbuiltins\nset\n(t\x81.",
    "a scalar of objects": b"cnumpy.core.multiarray\nscalar\n(" + DTYPE % b"O" + b"V1\ntR.",
    "another encoding": b"c_codecs\nencode\n(Va\nVzip\ntR.",
    "bytes by their number": b"cbuiltins\nbytes\n(I1000000000000\ntR.",
    "a bytearray by its number": b"cbuiltins\nbytearray\n(I1000000000000\ntR.",
    "a list in itself": b"]q\x00h\x00a.",
    "an array in itself": b"]q\x000" + EMPTY + b"((I1\nt" + DTYPE % b"O" + b"I00\nh\x00tbq\x010h\x00h\x01a.",
    "lists without end": b"]" * 100_000 + b"a" * 99_999 + b".",
    "out of band": b"\x80\x05\x97.",
    "bytes longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 10**15) + b"A.",
    "text longer than the file": b"\x80\x04\x8d" + struct.pack("<Q", 10**15) + b"A.",
    "a bytearray longer than the file": b"\x80\x05\x96" + struct.pack("<Q", 10**15) + b"A.",
    "a frame longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 10**15) + b"N.",
    "a huge table": b"\x80\x02]r\xff\xff\xff\x7f.",
    "a huge table, in text": b"]p4000000000\n.",
    "no end": b"\x80\x02]",
    "no instruction": b"\x80\x02\xff.",
    "negative length": b"\x80\x02T\xff\xff\xff\xffA.",
}


@pytest.mark.parametrize("content", TRICKS.values(), ids=TRICKS)
def test_a_trick_is_refused_by_name(tmp_path, content):
    path = tmp_path / "trick.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"trick\.pkl: ") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    same(loads(pickle.dumps(megadepth()), "later"), megadepth())  # and leaves nothing behind


def npy_of(header, content=b""):
    header = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "content",
    [
        npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}\n", b"A" * 64),
        npy_of("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}\n", b"A" * 64),
        npy_of("{'descr': '|O', 'fortran_order': False, 'shape': ()}\n", by_name("os", "getcwd", "")),
        npy_of("__import__('os').getcwd()\n"),
        b"\x93NUMPY\x09\x00" + bytes(50),
        b"\x93NUMPY",
    ],
)
def test_a_bad_header_is_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: "):
        load(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("member.npy", content)
    with pytest.raises(ValueError, match=r"b\.npz/member\.npy: "):
        load(tmp_path / "b.npz")


def whole_files():
    yield "pkl", pickle.dumps(tapvid())
    for suffix, save in (("npy", np.save), ("npz", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, tapvid())
        yield suffix, buffer.getvalue()


@pytest.mark.parametrize(("suffix", "content"), list(whole_files()))
def test_a_cut_or_garbled_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"clip.{suffix}"
    loads(content, "whole")
    for end in range(1, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match=rf"clip\.{suffix}"):
            load(path)
    rng = np.random.default_rng(0)
    for _ in range(200):  # whatever one wrong byte does, it is data or a ValueError
        garbled = bytearray(content)
        garbled[rng.integers(len(content))] = rng.integers(256)
        try:
            loads(bytes(garbled), "garbled")
        except ValueError as error:
            assert "garbled" in str(error)


def test_missing_and_empty_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.pkl"):
        load(tmp_path / "nowhere.pkl")
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(ValueError, match=r"empty\.pkl: is empty"):
        load(tmp_path / "empty.pkl")
