import pickle

import numpy as np
import pytest

from retracker.data.mapped_pickle import let_go, load_mapped
from retracker.data.safe_pickle import UnsafePickleError, load


@pytest.fixture
def videos():
    rng = np.random.default_rng(0)
    return {
        "video": rng.integers(0, 256, (9, 64, 48, 3), dtype=np.uint8),
        "points": np.asfortranarray(rng.random((5, 9, 2))),
        "jpegs": [rng.bytes(length) for length in (0, 300, 70000)],
        "name": "ümlaut",
        "shapes": ((64, 48), 1.5, None, True),
    }


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return [bytes(item) for item in one] == [bytes(item) for item in other]
    return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_finds_what_reading_the_whole_file_finds(tmp_path, videos, protocol):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(videos, protocol=protocol))
    np.save(tmp_path / "a.npy", videos, allow_pickle=True)
    for name in ("a.pkl", "a.npy"):
        assert same(load_mapped(tmp_path / name), load(tmp_path / name))
        assert same(load_mapped(tmp_path / name), videos)


def test_arrays_stay_in_the_file(tmp_path, videos):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(videos))
    found = load_mapped(tmp_path / "a.pkl")
    assert not found["video"].flags.owndata and not found["video"].flags.writeable
    assert isinstance(found["jpegs"][2], memoryview)


def test_an_array_that_was_let_go_reads_the_same_again(tmp_path):
    whole = np.random.default_rng(0).integers(0, 256, (64, 100, 100), np.uint8)
    (tmp_path / "clips.pkl").write_bytes(pickle.dumps({"video": whole}))
    mapped = load_mapped(tmp_path / "clips.pkl")["video"]
    for array in (mapped, mapped[3:, ::2], whole):  # one that is in memory stays there
        before = array.copy()
        let_go(array)
        np.testing.assert_array_equal(array, before)


def test_it_refuses_what_reading_refuses(tmp_path):
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UnsafePickleError, match="evil.pkl: asks for os.system"):
        load_mapped(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_that_ends_early_is_named(tmp_path, videos, share):
    content = pickle.dumps(videos)
    (tmp_path / "cut.pkl").write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="cut.pkl") as caught:
        load_mapped(tmp_path / "cut.pkl")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_pickle_are_named(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(50):
        (tmp_path / "noise.pkl").write_bytes(rng.bytes(200))
        with pytest.raises(ValueError, match="noise.pkl"):
            load_mapped(tmp_path / "noise.pkl")
    np.save(tmp_path / "plain.npy", np.zeros(3))
    with pytest.raises(ValueError, match="plain.npy"):
        load_mapped(tmp_path / "plain.npy")
