"""Images survive the disk, and bad files get one clear sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from retracker.media.image import decode_frame, read_frame, read_image, write_image


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


def photo(height=48, width=64):
    """Smooth colours with some grain. UInt8[H W 3]"""
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x * 3, y * 4, 200 - x * 2], axis=-1)
    return (smooth + np.random.default_rng(0).integers(0, 9, smooth.shape)).astype(np.uint8)


def encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_frame_is_rgb_bit_for_bit(tmp_path):
    (tmp_path / "frame.png").write_bytes(encoded(photo(), "PNG"))
    assert np.array_equal(read_frame(tmp_path / "frame.png"), photo())
    (tmp_path / "frame.jpg").write_bytes(encoded(photo(), "JPEG", quality=95))
    found = read_frame(tmp_path / "frame.jpg")
    assert np.abs(found.astype(int) - photo()).mean() < 3
    assert np.abs(found.astype(int) - read_image(tmp_path / "frame.jpg").permute(1, 2, 0).numpy()).max() <= 3


def test_a_frame_is_not_turned_for_its_labels_are_not(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo()).save(tmp_path / "phone.jpg", exif=exif)
    assert read_frame(tmp_path / "phone.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (photo()[..., 0], np.repeat(photo()[..., :1], 3, axis=-1)),
        (photo()[..., 0].astype(np.uint16) * 256 + 9, np.repeat(photo()[..., :1], 3, axis=-1)),
        (np.dstack([photo(), np.full((48, 64), 7, np.uint8)]), photo()),
    ],
    ids=["grey", "16 bit", "with alpha"],
)
def test_any_depth_and_number_of_channels_becomes_rgb(pixels, expected):
    assert np.array_equal(decode_frame(encoded(pixels, "PNG"), "frame"), expected)


KINDS = {
    "png": lambda: encoded(photo(), "PNG"),
    "jpg": lambda: encoded(photo(), "JPEG"),
    "progressive jpg": lambda: encoded(photo(), "JPEG", progressive=True),
    "webp": lambda: encoded(photo(), "WEBP", lossless=True),
    "bmp": lambda: encoded(photo(), "BMP"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_that_ends_early_is_refused_in_silence(tmp_path, kind, capfd):
    content, path = KINDS[kind](), tmp_path / "frame.img"
    for missing in (2, 5, 20, 100, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:-missing])
        with pytest.raises(ValueError, match=r"frame\.img: cannot be read as an image"):
            read_frame(path)
    if kind.endswith(("png", "jpg")):
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png", "jpg", "progressive jpg"])
def test_bytes_after_the_end_do_no_harm(kind):
    whole = decode_frame(KINDS[kind](), "frame")
    assert np.array_equal(decode_frame(KINDS[kind]() + bytes(100), "frame"), whole)
    assert np.array_equal(decode_frame(memoryview(KINDS[kind]()), "frame"), whole)


@pytest.mark.parametrize("kind", ["jpg", "progressive jpg"])
def test_a_film_behind_a_photograph_does_no_harm(kind):
    whole = decode_frame(KINDS[kind](), "frame")
    for film in (b"\xff\xda", b"\xff\xd9 \xff\xda", bytes(9) + b"\xff\xff\xda\xff"):
        assert np.array_equal(decode_frame(KINDS[kind]() + film, "frame"), whole)


def test_a_cut_photograph_is_refused_though_its_thumbnail_is_whole():
    thumbnail = b"\xff\xe1" + struct.pack(">H", len(KINDS["jpg"]()) + 2) + KINDS["jpg"]()
    content = KINDS["jpg"]()[:2] + thumbnail + KINDS["jpg"]()[2:]
    assert decode_frame(content, "frame").shape == (48, 64, 3)
    with pytest.raises(ValueError, match="frame: "):
        decode_frame(content[:-200], "frame")


def test_a_header_that_asks_for_an_absurd_size_is_refused():
    def chunk(name, content):
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", 10**6, 10**6, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(ValueError, match="frame: cannot be read as an image"):
        decode_frame(content, "frame")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30), b"\xff\xd8\xff\xd9"])
def test_a_frame_that_is_none_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.png: "):
        read_frame(tmp_path / "broken.png")
    with pytest.raises(ValueError, match=r"inside: "):
        decode_frame(content, "inside")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_frame(tmp_path / "nowhere.png")
