"""Flow files: what is written comes back, and what is broken is named."""

import numpy as np
import pytest

from retracker.media.flow import read_flo, read_pfm, write_flo, write_pfm

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1)])
def test_a_pfm_comes_back(tmp_path, shape, big_endian):
    image = RNG.normal(size=shape).astype(np.float32)
    write_pfm(tmp_path / "a.pfm", image, big_endian=big_endian)
    found = read_pfm(tmp_path / "a.pfm")
    assert found.dtype == np.float32 and found.dtype.isnative and np.array_equal(found, image)


@pytest.mark.parametrize(
    "header", [b"Pf\n2 3\n-1.0\n", b"Pf\n2 3 \n-1\n", b"Pf 2 3 -1.0e0\n", b"Pf\r\n2 3\r\n-1.000000\r\n"]
)
def test_the_bottom_row_comes_first_in_the_file(tmp_path, header):
    (tmp_path / "a.pfm").write_bytes(header + np.arange(6, dtype="<f4").tobytes())
    assert read_pfm(tmp_path / "a.pfm").tolist() == [[4, 5], [2, 3], [0, 1]]


def test_a_pixel_that_looks_like_white_space_is_a_pixel(tmp_path):
    image = np.frombuffer(b"\n\n  " * 2, "<f4").reshape(1, 2)
    write_pfm(tmp_path / "a.pfm", image)
    assert np.array_equal(read_pfm(tmp_path / "a.pfm"), image)


def test_a_flo_comes_back_and_starts_as_middlebury_says(tmp_path):
    flow = RNG.normal(size=(4, 6, 2)).astype(np.float32)
    write_flo(tmp_path / "a.flo", flow)
    content = (tmp_path / "a.flo").read_bytes()
    assert np.frombuffer(content, "<f4", 1) == 202021.25
    assert np.frombuffer(content, "<i4", 2, offset=4).tolist() == [6, 4]
    assert np.frombuffer(content, "<f4", 4, offset=12).tolist() == flow[0, :2].ravel().tolist()
    assert np.array_equal(read_flo(tmp_path / "a.flo"), flow)


@pytest.mark.parametrize("damage", ["cut", "header only", "longer", "garbage", "empty", "missing"])
@pytest.mark.parametrize("name", ["a.pfm", "a.flo"])
def test_a_broken_file_is_named_in_one_sentence(tmp_path, name, damage):
    path = tmp_path / name
    if name == "a.pfm":
        read, content = read_pfm, b"Pf\n2 3\n-1.0\n" + bytes(24)
    else:
        read, content = read_flo, b"PIEH" + np.array([2, 3], "<i4").tobytes() + bytes(48)
    path.write_bytes(content)
    read(path)
    broken = {
        "cut": content[:-5],
        "header only": content[:12],
        "longer": content + bytes(4),
        "garbage": b"nonsense" * 20,
        "empty": b"",
    }
    path.unlink() if damage == "missing" else path.write_bytes(broken[damage])
    with pytest.raises((OSError, ValueError), match=name) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(-2, 3), (0, 3), (2**30, 2**30)])
def test_a_flo_of_an_impossible_size_is_refused(tmp_path, size):
    (tmp_path / "a.flo").write_bytes(b"PIEH" + np.array(size, "<i4").tobytes() + bytes(48))
    with pytest.raises(ValueError, match=r"a\.flo: its header says"):
        read_flo(tmp_path / "a.flo")


def test_an_image_that_no_pfm_can_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a\.pfm: expected an image"):
        write_pfm(tmp_path / "a.pfm", np.zeros((2, 3, 2), np.float32))
