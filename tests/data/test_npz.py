import numpy as np
import pytest

from retracker.data.npz import npz_names, read_npz_array

ARRAYS = {
    "rows": np.arange(60, dtype=np.float16).reshape(5, 6, 2),
    "columns": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "empty": np.zeros((0, 3)),
    "number": np.float64(3),
    "mask": np.eye(4) > 0.5,
    "swapped": np.arange(5, dtype=">i4"),
}


@pytest.fixture(params=[np.savez, np.savez_compressed])
def path(request, tmp_path):
    request.param(tmp_path / "a.npz", **ARRAYS)
    return tmp_path / "a.npz"


def test_every_array_comes_back(path):
    assert npz_names(path) == tuple(ARRAYS)
    for name, array in ARRAYS.items():
        found = read_npz_array(path, name)
        assert np.array_equal(found, array) and found.dtype == array.dtype and found.shape == array.shape


def test_what_is_not_compressed_is_mapped(tmp_path):
    np.savez(tmp_path / "a.npz", **ARRAYS)
    assert isinstance(read_npz_array(tmp_path / "a.npz", "rows").base, np.memmap)


def test_a_missing_array_is_told_with_those_there_are(path):
    with pytest.raises(ValueError, match=r"a.npz: has no array 'nope', only columns, empty, mask"):
        read_npz_array(path, "nope")


def test_pickled_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", objects=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="a.npz: an array of pickled objects"):
        read_npz_array(tmp_path / "a.npz", "objects")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_a_file_that_ends_early_is_named(path, share):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="a.npz") as caught:
        read_npz_array(path, "rows")
    assert "\n" not in str(caught.value)


def test_damage_inside_is_named(path):
    content = bytearray(path.read_bytes())
    content[0:4] = b"XXXX"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a.npz"):
        read_npz_array(path, "rows")
