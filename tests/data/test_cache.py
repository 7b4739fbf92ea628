"""The cache serves what was made and nothing else, whatever happens to the processes that share it."""

import errno
import multiprocessing
import os
import pickle
import random
import signal
import string
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from retracker.data.cache import DiskCache

FORK = multiprocessing.get_context("fork")  # as the workers of Linux are by default


def content_of(key):
    return random.Random(key).randbytes(1000 + len(key) * 1000)


class Maker:
    """Writes the bytes of a key and counts how often; slowly, in pieces, if asked."""

    def __init__(self, key, pause=0.0):
        self.key, self.pause, self.times = key, pause, 0

    def __call__(self, path):
        self.times += 1
        content = content_of(self.key)
        with path.open("wb") as file:
            for start in range(0, len(content), 500):
                file.write(content[start : start + 500])
                file.flush()
                if self.pause:
                    time.sleep(self.pause)


def get(cache, key, pause=0.0):
    """How often it was made for this call: 0 is a hit."""
    make = Maker(key, pause)
    assert cache.get(key, make, Path.read_bytes) == content_of(key)
    return make.times


def files(cache):
    """Every file but the total."""
    return [p for p in Path(cache.folder).rglob("*") if p.is_file() and p.name != "total"]


def kilobytes(size):
    return size * 1000 / 1e9


@pytest.fixture
def cache(tmp_path):
    return DiskCache(str(tmp_path / "cache"), limit_gb=kilobytes(100))


def test_what_was_made_is_not_made_again(cache):
    assert [get(cache, key) for key in ("a.png", "b", "a.png", "b")] == [1, 1, 0, 0]
    assert get(DiskCache(str(cache.folder), limit_gb=1), "a.png") == 0
    assert sorted(path.suffix for path in files(cache))[1] == ".png"


def test_a_limit_of_nothing_keeps_nothing_and_needs_no_folder(tmp_path):
    cache = DiskCache(str(tmp_path / "never"), limit_gb=0)
    assert [get(cache, "a"), get(cache, "a")] == [1, 1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [-1, float("nan"), float("inf")])
def test_a_senseless_limit_is_refused(tmp_path, limit):
    with pytest.raises(ValueError, match="limit_gb"):
        DiskCache(str(tmp_path), limit_gb=limit)


def test_the_least_recently_used_goes_first_and_room_is_left(tmp_path):
    cache = DiskCache(str(tmp_path), limit_gb=kilobytes(10))  # entries are 2 kB
    assert [get(cache, key) for key in "abcde"] == [1] * 5
    assert get(cache, "a") == 0
    assert get(cache, "f") == 1  # now 12 kB: down to 9
    assert sum(path.stat().st_size for path in files(cache)) == 8000
    assert [get(cache, key) for key in "adef"] == [0] * 4
    assert [get(cache, key) for key in "bc"] == [1, 1]


def test_what_is_larger_than_the_limit_is_served_and_not_kept(tmp_path):
    cache = DiskCache(str(tmp_path), limit_gb=kilobytes(3))
    assert get(cache, "s") == 1
    assert [get(cache, "large"), get(cache, "large")] == [1, 1]
    assert get(cache, "s") == 0


def test_a_map_outlives_its_entry(tmp_path):
    cache = DiskCache(str(tmp_path), limit_gb=kilobytes(10))

    def mapped(key):
        array = np.random.default_rng(len(key)).random(1000)
        return cache.get(
            f"{key}.npy", lambda path: np.save(path, array), lambda path: np.load(path, mmap_mode="r")
        )

    first = mapped("a")
    mapped("bb")  # 16 kB: the first one goes
    assert len(files(cache)) == 1
    np.testing.assert_array_equal(first, np.random.default_rng(1).random(1000))


@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "garbage"])
def test_a_torn_entry_is_made_again(cache, damage):
    def load(path):
        content = path.read_bytes()
        if content != content_of("key"):
            raise ValueError(f"{path}: is damaged")
        return content

    make = Maker("key")
    cache.get("key", make, load)
    (entry,) = files(cache)
    content = entry.read_bytes()
    entry.write_bytes(
        {"cut": content[:-1], "longer": content + b"x", "empty": b"", "garbage": bytes(len(content))}[damage]
    )
    served = load if damage == "garbage" else Path.read_bytes
    assert cache.get("key", make, served) == content and make.times == 2
    assert cache.get("key", make, load) == content and make.times == 2
    assert len(files(cache)) == 1


def test_errors_are_those_of_the_caller_and_leave_nothing(cache):
    def fail(path):
        path.write_bytes(b"half")
        raise ValueError("nonsense: is broken")

    with pytest.raises(ValueError, match="nonsense: is broken"):
        cache.get("a", fail, Path.read_bytes)
    with pytest.raises(ValueError, match="nonsense: is broken"):
        cache.get("a", Maker("a"), fail)
    assert files(cache) == []
    assert get(cache, "a") == 1


def test_a_full_disk_is_told_once_and_goes_on_without(cache):
    def full(path):
        if cache.folder in path.parents:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        Maker("a")(path)

    with pytest.warns(UserWarning, match="no room left") as warned:
        assert cache.get("a", full, Path.read_bytes) == content_of("a")
        assert cache.get("a", full, Path.read_bytes) == content_of("a")
    assert len(warned) == 1 and files(cache) == []
    assert get(cache, "a") == 1


def test_other_errors_of_the_disk_are_not_hidden(cache):
    def broken(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    with pytest.raises(OSError, match="Input/output error"):
        cache.get("a", broken, Path.read_bytes)


def test_the_total_is_found_again_after_it_was_lost_or_wrong(tmp_path):
    cache = DiskCache(str(tmp_path), limit_gb=kilobytes(10))
    for text in ("", "half\x00", "9999999", None):
        [get(cache, key) for key in "abcd"]
        (tmp_path / "total").unlink() if text is None else (tmp_path / "total").write_text(text)
        [get(cache, key) for key in "efgh"]
        held = sum(path.stat().st_size for path in files(cache))
        assert held <= 10_000 and int((tmp_path / "total").read_text()) == held


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(cache):
    get(cache, "a")
    making = cache.folder / "making"
    (making / "0123.partial.npy").write_bytes(b"half")
    (making / "0123.lock").touch()
    assert get(DiskCache(str(cache.folder), limit_gb=kilobytes(100)), "b") == 1
    assert list(making.iterdir()) == []

    slow = threading.Thread(target=get, args=(cache, "slow", 0.02))
    slow.start()
    while not list(making.glob("*.partial")):
        time.sleep(0.001)
    assert get(DiskCache(str(cache.folder), limit_gb=kilobytes(100)), "c") == 1
    assert list(making.glob("*.partial"))
    slow.join()
    assert get(cache, "slow") == 0


def test_two_who_want_the_same_wait_for_one(cache):
    made = []
    threads = [threading.Thread(target=lambda: made.append(get(cache, "same", 0.01))) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sorted(made) == [0, 0, 0, 1]


def test_making_one_may_need_another(cache):
    def outer(path):
        path.write_bytes(cache.get("inner", Maker("inner"), Path.read_bytes)[::-1])

    assert cache.get("outer", outer, Path.read_bytes) == content_of("inner")[::-1]
    assert get(cache, "inner") == 0


def test_it_can_be_pickled(cache):
    get(cache, "a")
    assert get(pickle.loads(pickle.dumps(cache)), "a") == 0


def hammer(folder, seed, seconds, failures):
    """Ask for few keys under a tiny limit; each answer must be what the key stands for."""
    cache, rng = DiskCache(folder, limit_gb=kilobytes(8)), random.Random(seed)
    end = time.monotonic() + seconds
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while time.monotonic() < end:
            try:
                get(cache, rng.choice("abcdef"))
            except BaseException as error:
                failures.put(repr(error))
                raise


def run(folder, count, seconds, failures):
    processes = [FORK.Process(target=hammer, args=(folder, seed, seconds, failures)) for seed in range(count)]
    [process.start() for process in processes]
    return processes


def test_many_processes_share_few_keys_and_little_room(tmp_path):
    failures = FORK.SimpleQueue()
    for process in run(str(tmp_path), 4, 1.5, failures):
        process.join()
        assert process.exitcode == 0, failures.get()
    check_whole(tmp_path, limit=8000)


def check_whole(folder, limit, key="z"):
    """Nothing but entries that hold what they should, no more than allowed, and a total that says so."""
    cache = DiskCache(str(folder), limit_gb=limit / 1e9)
    assert get(cache, key) == 1  # what is new sweeps, and evicts what a killed process could no more
    total = int((folder / "total").read_text())
    entries = files(cache)
    assert sum(path.stat().st_size for path in entries) <= min(total, limit)
    assert {path.read_bytes() for path in entries} <= {content_of(key) for key in string.ascii_letters}
    assert list((folder / "making").iterdir()) == []


def test_processes_may_be_killed_at_any_moment(tmp_path):
    failures, rng = FORK.SimpleQueue(), random.Random(0)
    for key in "ghijklmnopqr":
        processes = run(str(tmp_path), 3, 30, failures)
        time.sleep(rng.uniform(0.02, 0.15))
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        for process in processes:
            process.join()
            assert process.exitcode == -signal.SIGKILL, failures.get()
        check_whole(tmp_path, limit=8000, key=key)


def test_a_process_killed_while_making_leaves_the_key_free(cache):
    process = FORK.Process(target=get, args=(cache, "slow", 5))
    process.start()
    while not list(cache.folder.glob("making/*.partial")):
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert get(cache, "slow") == 1
    assert list((cache.folder / "making").iterdir()) == []


def test_an_entry_of_another_user_is_served(cache, monkeypatch):
    assert get(cache, "a") == 1

    def refuse(path, **_):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(path))

    monkeypatch.setattr(os, "utime", refuse)
    assert get(cache, "a") == 0


def test_a_process_forked_while_an_entry_is_made_keeps_no_lock(cache):
    making, forked = threading.Event(), threading.Event()

    def make(path):
        making.set()
        forked.wait()
        path.write_bytes(content_of("a"))

    thread = threading.Thread(target=lambda: cache.get("a", make, Path.read_bytes))
    thread.start()
    making.wait()
    child = FORK.Process(target=get, args=(cache, "a"))
    child.start()  # it inherits what the thread has open, and wants the same entry
    forked.set()
    thread.join()
    child.join(10)
    stuck = child.is_alive()
    child.kill()
    assert not stuck and child.exitcode == 0


def test_a_vanished_entry_is_made_again(cache):
    get(cache, "a")
    make, seen = Maker("a"), []

    def load(path):
        if not seen:
            path.unlink()  # another process evicts it just now
        seen.append(path)
        return path.read_bytes()

    assert cache.get("a", make, load) == content_of("a")
    assert make.times == 1 and get(cache, "a") == 0
