"""A checkpoint is what was saved or it is refused, the ones before it stay, and a full disk harms none."""

import errno
import hashlib
import os
import resource
import shutil
import subprocess
import zipfile

import pytest
import torch

from retracker.checkpoint import newest_valid, read_torch, verify, write_atomically
from retracker.checkpoint_files import clear_unfinished, newest_first, unfinished_name

STATE = {"state_dict": {"weight": torch.arange(5000.0)}, "global_step": 7}


@pytest.fixture
def path(tmp_path):
    write_atomically(STATE, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def refused(path):
    """Whether a file is taken for what it is not."""
    try:
        verify(path)
        read_torch(path)
    except ValueError as error:
        return str(path) in str(error)
    return False


def test_the_hash_is_that_of_all_but_the_comment_of_the_archive(path):
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        comment = archive.comment
    assert comment == b"sha256:" + hashlib.sha256(content[: -2 - len(comment)]).hexdigest().encode()
    verify(path)


def test_what_is_read_back_is_what_was_saved_with_and_without_mapping_it(path):
    for mmap in (False, True):
        assert torch.equal(read_torch(path, mmap=mmap)["state_dict"]["weight"], torch.arange(5000.0))


def test_a_bit_flipped_anywhere_is_noticed(path):
    content = path.read_bytes()
    places = [*range(0, len(content), 509), *range(len(content) - 80, len(content))]
    for place in places:
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        path.write_bytes(spoilt)
        assert refused(path), place


def test_torch_alone_would_not_notice_a_bit_flipped_in_a_tensor(path):
    """Why there is a hash."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)
    assert not torch.equal(read_torch(path)["state_dict"]["weight"], STATE["state_dict"]["weight"])


def test_a_file_cut_off_anywhere_is_noticed(path):
    content = path.read_bytes()
    for size in [*range(0, len(content), 997), *range(len(content) - 100, len(content))]:
        path.write_bytes(content[:size])
        assert refused(path), size


@pytest.mark.parametrize("torn", [b"", bytes(20000)])
def test_a_name_whose_content_never_came_to_disk_is_noticed(path, torn):
    """What a machine that loses power can leave of a rename."""
    path.write_bytes(torn)
    assert refused(path)


def test_a_file_that_another_program_saved_has_no_hash_and_is_taken(tmp_path):
    torch.save(STATE, tmp_path / "other.ckpt")
    verify(tmp_path / "other.ckpt")


def test_a_copy_is_whole_without_anything_beside_it(path, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    verify(shutil.copy(path, tmp_path / "elsewhere" / "mine.ckpt"))
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == ["last.ckpt"]


def steps(folder):
    return {file.name: read_torch(file)["global_step"] for file in folder.glob("*.ckpt")}


def test_the_last_ones_are_kept_and_no_more(tmp_path):
    for step in range(5):
        write_atomically(STATE | {"global_step": step}, tmp_path / "last.ckpt", keep=3)
    write_atomically(STATE, tmp_path / "best.ckpt")
    assert steps(tmp_path) == {"last.ckpt": 4, "last.1.ckpt": 3, "last.2.ckpt": 2, "best.ckpt": 7}
    write_atomically(STATE | {"global_step": 5}, tmp_path / "last.ckpt", keep=2)
    assert steps(tmp_path) == {"last.ckpt": 5, "last.1.ckpt": 4, "best.ckpt": 7}


def test_where_the_last_was_put_aside_the_ones_before_keep_their_names(tmp_path):
    for step in range(2):
        write_atomically(STATE | {"global_step": step}, tmp_path / "last.ckpt", keep=3)
    (tmp_path / "last.ckpt").rename(tmp_path / "last.ckpt.damaged")
    write_atomically(STATE | {"global_step": 2}, tmp_path / "last.ckpt", keep=3)
    assert steps(tmp_path) == {"last.ckpt": 2, "last.1.ckpt": 0}


def test_without_hard_links_they_are_kept_as_well(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuse)
    for step in range(4):
        write_atomically(STATE | {"global_step": step}, tmp_path / "last.ckpt", keep=2)
    assert steps(tmp_path) == {"last.ckpt": 3, "last.1.ckpt": 2}


def test_when_the_last_is_damaged_the_one_before_is_found(tmp_path):
    for step in range(3):
        write_atomically(STATE | {"global_step": step}, tmp_path / "last.ckpt", keep=3)
    os.truncate(tmp_path / "last.ckpt", 100)
    with pytest.warns(UserWarning, match="last.ckpt: damaged"):
        assert newest_valid(tmp_path) == tmp_path / "last.1.ckpt"


def test_in_a_folder_that_was_copied_the_most_steps_are_found(tmp_path):
    """Its files are as new as the copying of each."""
    for step in range(4):
        write_atomically(STATE | {"global_step": step}, tmp_path / "last.ckpt", keep=3)
        if step == 1:
            write_atomically(STATE | {"global_step": step}, tmp_path / "best.ckpt")
    for time, name in enumerate(("last.ckpt", "last.1.ckpt", "last.2.ckpt", "best.ckpt")):
        os.utime(tmp_path / name, (time, time))
    assert newest_valid(tmp_path) == tmp_path / "last.ckpt"
    write_atomically(STATE | {"global_step": 3}, tmp_path / "best.ckpt")
    assert newest_valid(tmp_path) == tmp_path / "last.ckpt"
    (tmp_path / "last.ckpt").unlink()
    assert newest_valid(tmp_path) == tmp_path / "best.ckpt"


def test_a_file_that_cannot_be_read_just_now_is_not_damaged(path, monkeypatch):
    def stale(file, *_):
        raise OSError(errno.ESTALE, "Stale file handle", str(file))

    monkeypatch.setattr("pathlib.Path.open", stale)
    with pytest.raises(OSError, match="Stale file handle"):
        newest_valid(path.parent)


def test_a_file_for_which_there_is_no_memory_is_not_damaged(path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("unable to mmap 512 bytes from file <last.ckpt>: Cannot allocate memory (12)")

    monkeypatch.setattr("torch.load", refuse)
    with pytest.raises(OSError, match="Cannot allocate memory"):
        newest_valid(path.parent)


def test_of_two_names_of_one_file_the_last_comes_first(path):
    os.link(path, path.with_name("last.1.ckpt"))
    assert [file.name for file in newest_first(path.parent)] == ["last.ckpt", "last.1.ckpt"]


def test_what_a_killed_run_left_is_cleared_away_and_nothing_else(path):
    unfinished_name(path).write_bytes(b"half")
    assert clear_unfinished(path.parent) == [unfinished_name(path)]
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_may_not_grow_leaves_all_as_it_was(path):
    """What a full disk does, wherever tests run: the limit on the size of a file."""
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomically(STATE | {"global_step": 8}, path, keep=3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 kB."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_leaves_all_as_it_was_and_says_so(small_disk):
    write_atomically(STATE, small_disk / "last.ckpt")
    with pytest.raises(OSError, match="No space left on device"):
        for step in range(3):
            write_atomically(STATE | {"global_step": 8 + step}, small_disk / "last.ckpt", keep=3)
    assert all(not refused(file) for file in small_disk.iterdir())
    assert newest_valid(small_disk) == small_disk / "last.ckpt"
    assert list(small_disk.glob(".*")) == []
