"""Depth maps on disk, and what is done about files that are none."""

import h5py
import numpy as np
import pytest
from PIL import Image

from retracker.media.depth import MILLIMETRE, read_depth_h5, read_depth_png

DEPTH = np.array([[1.25, 0.0, 3.5], [2.125, 60.0, 0.001]], np.float32)


def write_h5(path, values, key="depth"):
    with h5py.File(path, "w") as file:
        file[key] = values
    return path


def test_a_png_counts_in_the_unit(tmp_path):
    Image.fromarray(np.array([[0, 1250], [65535, 1]], np.uint16)).save(tmp_path / "depth.png")
    depth = read_depth_png(tmp_path / "depth.png", MILLIMETRE)
    np.testing.assert_allclose(depth, [[0, 1.25], [65.535, 0.001]], rtol=1e-6)


def test_a_png_of_another_kind_is_refused(tmp_path):
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "rgb.png")
    (tmp_path / "text.png").write_text("nothing")
    for name in ("grey.png", "rgb.png", "text.png"):
        with pytest.raises(ValueError, match=name):
            read_depth_png(tmp_path / name, MILLIMETRE)
    with pytest.raises(FileNotFoundError, match="missing.png"):
        read_depth_png(tmp_path / "missing.png", MILLIMETRE)


def test_a_png_without_its_end_is_refused_in_silence(tmp_path, capfd):
    noise = np.random.default_rng(0).integers(0, 65536, (64, 64), np.uint16)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for share in (0.5, 0.99):
        (tmp_path / "cut.png").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=r"cut\.png"):
            read_depth_png(tmp_path / "cut.png", MILLIMETRE)
    assert capfd.readouterr() == ("", "")  # libpng has a voice of its own


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_hdf5_comes_back_as_it_is(tmp_path, dtype):
    depth = read_depth_h5(write_h5(tmp_path / "a.h5", DEPTH.astype(dtype)), "depth")
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(depth, DEPTH.astype(dtype).astype(np.float32))


def test_what_is_not_finite_is_unknown(tmp_path):
    values = DEPTH.copy()
    values[0, 0], values[1, 1] = np.nan, np.inf
    depth = read_depth_h5(write_h5(tmp_path / "a.h5", values), "depth")
    assert depth[0, 0] == depth[1, 1] == 0 and depth[0, 2] == 3.5


@pytest.mark.parametrize("mask", [[[0, 1, 2], [1, 1, 3]], [[-1.0, 0.5, 0.0], [0.0, 0.0, 2.5]]])
def test_masks_that_order_regions_are_unknown_everywhere(tmp_path, mask):
    depth = read_depth_h5(write_h5(tmp_path / "a.h5", np.array(mask, np.float32)), "depth")
    assert depth.shape == (2, 3) and not depth.any()


def test_broken_hdf5_is_told_in_one_line(tmp_path):
    whole = write_h5(tmp_path / "whole.h5", np.random.default_rng(0).random((64, 64))).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("nothing")
    write_h5(tmp_path / "other.h5", DEPTH, key="disparity")
    write_h5(tmp_path / "volume.h5", np.ones((2, 3, 4)))
    write_h5(tmp_path / "folder.h5", DEPTH, key="depth/inner")
    (tmp_path / "empty.h5").write_bytes(b"")
    for name in ("cut.h5", "text.h5", "other.h5", "volume.h5", "folder.h5", "empty.h5"):
        with pytest.raises(ValueError, match=name) as caught:
            read_depth_h5(tmp_path / name, "depth")
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="missing.h5"):
        read_depth_h5(tmp_path / "missing.h5", "depth")
