"""Files come from wherever they lie, through the cache or not, the same bit for bit."""

import os
import pickle
import sys
import warnings
import zipfile
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from layouts import tracks_folder
from layouts.truth import rendered
from torch.utils.data import DataLoader

from retracker.data.cache import DiskCache
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.data.storage import Storage, map_array, write_array
from retracker.media.image import read_frame, write_image


@pytest.fixture
def tree(tmp_path):
    """A few files below a folder."""
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / "b" / "deep.txt").write_text("deep")
    np.savez_compressed(root / "labels.npz", tracks=np.arange(24.0).reshape(4, 3, 2), visible=np.ones((4, 3)))
    for t in range(3):
        write_image(root / "frames" / f"{t}.png", torch.full((3, 6, 8), 40 * t, dtype=torch.uint8))
    return root


def in_memory(tree):
    """The same files in fsspec's memory, under a name of their own."""
    files = fsspec.filesystem("memory")
    for path in tree.rglob("*"):
        if path.is_file():
            files.pipe(f"/{tree.parent.name}/{path.relative_to(tree)}", path.read_bytes())
    return f"memory://{tree.parent.name}"


def in_zip(tree):
    with zipfile.ZipFile(tree.parent / "all.zip", "w") as archive:
        for path in tree.rglob("*"):
            archive.write(path, f"top/{path.relative_to(tree)}")
    return f"zip://top::file://{tree.parent / 'all.zip'}"


ROOTS = {
    "folder": str,
    "file": lambda tree: f"file://{tree}",
    "slash": lambda tree: f"{tree}/",
    "memory": in_memory,
    "memory, slash": lambda tree: in_memory(tree) + "/",
    "zip": in_zip,
    "all of a zip": lambda tree: in_zip(tree).replace("top", "*"),
    "cached by fsspec": lambda tree: f"simplecache::file://{tree}",
    "cached by fsspec, too": lambda tree: f"filecache::{in_memory(tree)}",
}


@pytest.fixture(params=["no cache", "a cache of nothing", "a cache"])
def cache(request, tmp_path):
    limit = {"no cache": None, "a cache of nothing": 0, "a cache": 1}[request.param]
    return None if limit is None else DiskCache(str(tmp_path / "cache"), limit_gb=limit)


@pytest.mark.parametrize("root", ROOTS.values(), ids=ROOTS)
def test_files_are_found_and_read_wherever_they_lie(tree, cache, root):
    root = root(tree)
    top = "top/" if "*" in root else ""
    storage = Storage(root, cache)
    for _ in range(2):
        assert storage.names(top) == ("a", "frames", "labels.npz")
        assert storage.names(f"{top}a") == ("b", "notes.txt")
        assert storage.names(f"{top}a/notes.txt") == storage.names(f"{top}nowhere") == ()
        assert storage.exists(f"{top}a/b") and storage.exists(f"{top}a/notes.txt")
        assert not storage.exists(f"{top}a/nowhere")
        assert storage.load(f"{top}a/b/deep.txt", Path.read_text) == "deep"
        tracks, visible = storage.arrays(f"{top}labels.npz", ("tracks", "visible"))
        np.testing.assert_array_equal(tracks, np.arange(24.0).reshape(4, 3, 2))
        assert visible.shape == (4, 3) and not tracks.flags.writeable
        video = storage.video([f"{top}frames/{t}.png" for t in (2, 0, 2)])
        assert video.shape == (3, 3, 6, 8) and video[:, 0, 0, 0].tolist() == [80, 0, 80]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.txt.*: no such file|No such file.*nowhere\.txt"):
        storage.load(f"{top}a/nowhere.txt", Path.read_text)


def test_a_cache_decodes_and_fetches_once(tree, tmp_path):
    decoded = []

    def decode(path):
        decoded.append(path)
        return read_frame(path)

    for root in (str(tree), in_memory(tree)):
        decoded.clear()
        for _ in range(2):
            storage = Storage(root, DiskCache(str(tmp_path / "cache"), limit_gb=1))
            first = storage.array("frames/1.png", decode, "test")
            assert first[0, 0, 0] == 40 and len(decoded) == 1
    fsspec.filesystem("memory").rm(f"/{tree.parent.name}/frames/1.png")
    assert storage.load("frames/1.png", read_frame)[0, 0, 0] == 40  # the copy is still there


def test_a_label_tells_arrays_of_one_file_apart(tree, cache):
    storage = Storage(str(tree), cache)
    assert storage.array("frames/1.png", read_frame, "rgb").shape == (6, 8, 3)
    assert storage.array("frames/1.png", lambda path: read_frame(path)[::2], "half").shape == (3, 8, 3)


def test_a_changed_local_file_is_read_anew(tree, cache):
    storage = Storage(str(tree), cache)
    assert storage.video(["frames/1.png"])[0, 0, 0, 0] == 40
    write_image(tree / "frames" / "1.png", torch.full((3, 6, 8), 41, dtype=torch.uint8))
    assert storage.video(["frames/1.png"])[0, 0, 0, 0] == 41


def test_frames_of_another_size_are_named(tree, cache):
    write_image(tree / "frames" / "3.png", torch.zeros(3, 6, 9, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"3\.png: expected a frame of \(6, 8\).*2\.png, got \(6, 9\)"):
        Storage(str(tree), cache).video(["frames/2.png", "frames/3.png"])


def test_an_array_keeps_its_type_and_shape_and_is_a_map(tmp_path):
    arrays = [
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(10)[::-2],
        np.array(3.5),
        np.zeros((0, 4)),
        np.zeros((3, 0), bool),
        np.array(["a", "bcd"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ]
    for array in arrays:
        write_array(tmp_path / "a.npy", array)
        back = map_array(tmp_path / "a.npy")
        assert back.dtype == array.dtype and type(back) is np.ndarray
        np.testing.assert_array_equal(back, array)
        np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
        assert back.size == 0 or isinstance(back.base, np.memmap)


def test_objects_cannot_be_kept(tree, tmp_path):
    storage = Storage(str(tree), DiskCache(str(tmp_path / "cache"), limit_gb=1))
    with pytest.raises(ValueError, match=r"notes\.txt: expected an array of numbers or text, got .* object"):
        storage.array("a/notes.txt", lambda _: np.array([None]), "objects")


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("/nowhere/at/all", "/nowhere/at/all: no such folder"),
        ("memory://nowhere", "memory://nowhere: no such folder"),
        ("nonsense://bucket/x", "nonsense://bucket/x: cannot be opened .*nonsense"),
        ("zip://x::/nowhere.zip", r"zip://x::/nowhere\.zip: "),
        ("http://127.0.0.1:1/x", "http://127.0.0.1:1/x: "),
    ],
)
def test_a_wrong_root_is_told_in_one_sentence(root, message, cache):
    with pytest.raises((OSError, ValueError), match=message) as caught:
        Storage(root, cache)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("root", "package"), [("s3://bucket/x", "s3fs"), ("gs://bucket/x", "gcsfs")])
def test_a_missing_package_is_named(root, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(ValueError, match=f"{root}: cannot be opened .*{package}"):
        Storage(root, None)


def test_a_file_where_a_folder_should_be_is_told(tree):
    with pytest.raises(FileNotFoundError, match=r"notes\.txt: no such folder"):
        Storage(f"{in_memory(tree)}/a/notes.txt", None)


@pytest.mark.parametrize("root", [str, in_memory, in_zip], ids=["folder", "memory", "zip"])
@pytest.mark.parametrize("content", ["cut", b"nonsense" * 20, b"", "objects", "flipped"])
def test_a_damaged_npz_is_named_as_the_user_knows_it(tree, cache, root, content):
    path = tree / "labels.npz"
    whole = path.read_bytes()
    if content == "objects":
        np.savez(path, tracks=np.array([None, 1]))
    elif content == "flipped":
        path.write_bytes(whole[:100] + bytes([whole[100] ^ 255]) + whole[101:])
    else:
        path.write_bytes(whole[: len(whole) // 2] if content == "cut" else content)
    storage = Storage(root(tree), cache)
    with pytest.raises(ValueError) as caught:
        storage.arrays("labels.npz", ("tracks",))
    assert storage.where("labels.npz") in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_that_asks_for_too_much_is_damage(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((100,)))
    huge = (tmp_path / "a.npy").read_bytes().replace(b"(100,), }      ", b"(10**9,) * 3, }")
    huge = (
        huge.replace(b"(10**9,) * 3, }", b"(9000000000000,), }"[:15].ljust(15)) if b"(100," in huge else huge
    )
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tracks.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match=r"bomb\.npz: "):
        Storage(str(tmp_path), None).arrays("bomb.npz", ("tracks",))


def test_errors_keep_their_kind(tree):
    class Peculiar(ValueError):
        pass

    def fail(path, error):
        raise error if error else Peculiar(f"{path}: is peculiar")

    storage = Storage(in_memory(tree), None)
    with pytest.raises(Peculiar, match=r"^memory://.*/a/notes\.txt: is peculiar$"):
        storage.load("a/notes.txt", partial(fail, error=None))
    with pytest.raises(OSError, match=r"^memory://.*/a/notes\.txt: "):
        storage.load("a/notes.txt", partial(fail, error=OSError("unable to open")))
    with pytest.raises(ValueError, match=r"^memory://.*/a/notes\.txt: is damaged"):
        storage.load("a/notes.txt", partial(fail, error=EOFError()))
    with pytest.raises(ValueError, match=r"^memory://.*/labels\.npz: .*utf-8"):
        storage.load("labels.npz", partial(Path.read_text, encoding="utf-8"))


# --- a whole data set, read in every way


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips") / "root"
    tracks_folder.write(root, [rendered(seed) for seed in (11, 12)])
    return root


def same(one, other):
    equal = [one.name == other.name]
    one.map(lambda a, b: equal.append(torch.equal(a, b)) or a, other)
    return all(equal)


def first(batch):
    return batch[0]


@pytest.mark.parametrize("root", ["folder", "file", "zip", "cached by fsspec"])
def test_a_data_set_is_the_same_through_every_door_also_to_workers(clips, tmp_path, root):
    direct, url = TracksFolder(str(clips)), ROOTS[root](clips)
    cached = TracksFolder(url, DiskCache(str(tmp_path / "cache"), limit_gb=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as torch's, of arrays that may not be written to
        for _ in range(2):
            assert all(same(cached[i], direct[i]) for i in range(2))
    loader = DataLoader(cached, num_workers=2, collate_fn=first)
    assert all(same(sample, direct[i]) for i, sample in enumerate(loader))
    cold = TracksFolder(url, DiskCache(str(tmp_path / "other"), limit_gb=1e-4))  # evicts all the time
    loader = DataLoader(cold, num_workers=2, collate_fn=first)
    assert all(same(sample, direct[i]) for i, sample in enumerate(loader))


def test_a_data_set_in_memory_is_the_same(clips, cache):
    direct, remote = TracksFolder(str(clips)), TracksFolder(in_memory(clips), cache)
    assert len(remote) == 2 and all(same(remote[i], direct[i]) for i in range(2))
    assert same(pickle.loads(pickle.dumps(remote))[1], direct[1])


def test_nothing_is_left_open_or_behind(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    remote = TracksFolder(in_memory(clips), None)
    remote[0]
    opened = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        remote[0]
    assert len(os.listdir("/proc/self/fd")) <= opened and not list(tmp_path.iterdir())
