"""Images survive the disk, and bad files get one clear sentence."""

import numpy as np
import pytest
import torch
from PIL import Image

from retracker.media.image import read_image, write_image


def test_a_png_keeps_every_bit(tmp_path):
    image = torch.randint(0, 256, (3, 17, 23), dtype=torch.uint8)
    write_image(tmp_path / "deep" / "image.png", image)
    assert torch.equal(read_image(tmp_path / "deep" / "image.png"), image)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 256, 65535], [512, 1024, 2048]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_image(tmp_path / "deep.png")[0].tolist() == [[0, 1, 255], [2, 4, 8]]


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter with the clock to see it upright
    Image.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "phone.jpg", exif=exif)
    assert read_image(tmp_path / "phone.jpg").shape == (3, 20, 10)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_corrupt_image_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: "):
        read_image(tmp_path / "broken.png")


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png: no such file"):
        read_image(tmp_path / "nowhere.png")


def test_an_unknown_image_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="suffix"):
        write_image(tmp_path / "image.xyz", torch.zeros(3, 4, 4, dtype=torch.uint8))
