"""``retracker boost``: what it writes for each kind of keypoint, and one line for every mistake."""

import re

import numpy as np
import pytest
import skimage.data
import torch

from retracker.__main__ import main
from retracker.checkpoint import load_booster, save_safetensors
from retracker.data.local_features import Orb, Sift, unpack_bits
from retracker.media.features import read_features
from retracker.media.image import write_image
from retracker.models.descriptor import boost, build_booster

SWITCHES = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}
NETS = {"sift": "SIFT+Boost-F", "orb": "ORB+Boost-B", "alike": "ALIKE+Boost-B"}
PICTURE = torch.from_numpy(np.ascontiguousarray(skimage.data.astronaut()[:200, 100:340])).permute(2, 0, 1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with an untrained booster of each kind."""
    folder = tmp_path_factory.mktemp("boosters")
    for name, preset in NETS.items():
        torch.manual_seed(0)
        config = {"_target_": "retracker.models.descriptor.build_booster", "preset": preset, **SWITCHES}
        save_safetensors(build_booster(preset, **SWITCHES), config, folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder with a photograph, a flat image, and a file that is none."""
    write_image(tmp_path / "photo.png", PICTURE)
    write_image(tmp_path / "flat.png", torch.full((3, 80, 100), 50, dtype=torch.uint8))
    (tmp_path / "broken.png").write_bytes(b"no image at all")
    return tmp_path


def run(folder, ckpt, *arguments, images=("photo",)):
    paths = [str(folder / f"{name}.png") for name in images]
    return main(["boost", *paths, "--ckpt", str(ckpt), "--out", str(folder / "out"), *arguments])


def only_line(capsys):
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("retracker boost: "), lines
    return lines[0]


def write_alike(path, **changes):
    """Features as ALIKE leaves them: indices of pixels, scores, descriptors (N,D)."""
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(30, 128)).astype(np.float32)
    arrays = {
        "keypoints": rng.integers(0, 200, (30, 2)).astype(np.float32),
        "scores": np.linspace(0.9, 0.1, 30, dtype=np.float32),
        "descriptors": descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
    }
    np.savez(path, **(arrays | changes))
    return arrays | changes


def test_sift_is_boosted_to_unit_vectors(folder, weights, capsys):
    ckpt = weights / "sift.safetensors"
    assert run(folder, ckpt, "--descriptor", "sift", "--max-keypoints", "60") == 0
    written = folder / "out" / "photo_sift_boosted.npz"
    assert f"60 keypoints boosted, wrote {written}" in capsys.readouterr().out
    arrays, expected = np.load(written), Sift(60)(PICTURE)
    np.testing.assert_array_equal(arrays["keypoints"], expected.xy.numpy())
    np.testing.assert_array_equal(arrays["geometry"], expected.geometry.numpy())
    with torch.inference_mode():
        boosted = boost(load_booster(ckpt), expected).numpy()
    np.testing.assert_allclose(arrays["descriptors"], boosted, atol=1e-6)
    assert arrays["descriptors"].dtype == np.float32 and not arrays["binary"]
    assert arrays["size"].tolist() == [200, 240]
    assert (str(arrays["image"]), str(arrays["detector"])) == (str(folder / "photo.png"), "sift")


def test_orb_is_boosted_to_packed_bits(folder, weights):
    ckpt = weights / "orb.safetensors"
    assert run(folder, ckpt, "--descriptor", "orb", "--max-keypoints", "60") == 0
    arrays = np.load(folder / "out" / "photo_orb_boosted.npz")
    with torch.inference_mode():
        boosted = boost(load_booster(ckpt), Orb(60)(PICTURE))
    assert arrays["descriptors"].dtype == np.uint8 and arrays["descriptors"].shape == (len(boosted), 32)
    assert arrays["binary"]
    assert torch.equal(unpack_bits(torch.from_numpy(arrays["descriptors"])) > 0, boosted >= 0)


def test_features_of_others_are_read_from_beside_the_image(folder, weights):
    given = write_alike(folder / "photo.npz")
    assert run(folder, weights / "alike.safetensors", "--descriptor", "file", "--max-keypoints", "20") == 0
    found = read_features(folder / "out" / "photo_file_boosted.npz", (200, 240), pixel_centre=0)
    np.testing.assert_allclose(found.xy, given["keypoints"][:20] + 0.5)
    assert found.descriptors.shape == (20, 256)
    elsewhere = folder / "features"
    elsewhere.mkdir()
    write_alike(elsewhere / "photo.alike.npz")
    where = ("--features", str(elsewhere), "--suffix", ".alike.npz", "--pixel-centre", "0.5")
    assert run(folder, weights / "alike.safetensors", "--descriptor", "file", *where) == 0
    found = read_features(folder / "out" / "photo_file_boosted.npz", (200, 240), pixel_centre=0)
    np.testing.assert_allclose(found.xy, given["keypoints"])


def test_a_flat_image_gives_an_empty_file_and_a_sentence(folder, weights, capsys):
    assert run(folder, weights / "orb.safetensors", "--descriptor", "orb", images=["flat"]) == 0
    assert "flat.png: no keypoints, the image shows nothing" in capsys.readouterr().out
    arrays = np.load(folder / "out" / "flat_orb_boosted.npz")
    assert arrays["keypoints"].shape == (0, 2) and arrays["descriptors"].shape == (0, 32)


def test_a_broken_image_is_told_and_the_others_go_on(folder, weights, capsys):
    images = ("broken", "missing", "photo")
    assert run(folder, weights / "sift.safetensors", "--descriptor", "sift", images=images) == 2
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        f"retracker boost: {folder / 'broken.png'}: cannot be read as an image",
        f"retracker boost: {folder / 'missing.png'}: no such file",
    ]
    assert (folder / "out" / "photo_sift_boosted.npz").is_file()


@pytest.mark.parametrize(
    ("descriptor", "ckpt", "complaint"),
    [
        ("sift", "orb", "does not go with --descriptor sift: expected descriptors of 256 numbers"),
        ("orb", "sift", "does not go with --descriptor orb: expected descriptors of 128 numbers"),
        ("sift", "alike", "does not go with --descriptor sift: expected 1 numbers of geometry"),
        ("file", "alike", "photo.npz: no such file"),
    ],
)
def test_weights_for_other_features_are_refused(descriptor, ckpt, complaint, folder, weights, capsys):
    assert run(folder, weights / f"{ckpt}.safetensors", "--descriptor", descriptor) == 2
    assert complaint in only_line(capsys)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"descriptors": np.full((30, 128), np.nan)}, "photo.npz: expected finite descriptors"),
        ({"descriptors": np.ones((30, 64))}, "photo.png: expected descriptors of 128 numbers, .* got 64"),
        ({"keypoints": np.full((30, 2), 500.0)}, "photo.npz: 30 of 30 keypoints lie outside"),
    ],
)
def test_broken_features_of_others_are_refused(changes, complaint, folder, weights, capsys):
    write_alike(folder / "photo.npz", **changes)
    assert run(folder, weights / "alike.safetensors", "--descriptor", "file") == 2
    assert re.search(complaint, only_line(capsys))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--max-keypoints", "0"), "--max-keypoints: expected a positive number, got 0"),
        (("--device", "cuda:77"), "--device: cannot use 'cuda:77'"),
    ],
)
def test_impossible_options_are_refused(arguments, complaint, folder, weights, capsys):
    assert run(folder, weights / "sift.safetensors", "--descriptor", "sift", *arguments) == 2
    assert complaint in only_line(capsys)


@pytest.mark.parametrize("descriptor", ["sift", "orb", "xfeat", "file"])
def test_without_a_booster_it_is_told_where_to_get_one(descriptor, folder, capsys):
    assert main(["boost", str(folder / "photo.png"), "--descriptor", descriptor]) == 2
    told = only_line(capsys)
    assert "--ckpt: expected the weights of a FeatureBooster" in told and "+experiment=booster" in told


def test_images_of_one_name_are_refused(folder, weights, capsys):
    images = ("photo", "photo")
    assert run(folder, weights / "sift.safetensors", "--descriptor", "sift", images=images) == 2
    assert "2 of the images are called 'photo'" in only_line(capsys)


def test_a_tracker_is_no_booster_and_a_booster_no_tracker(folder, weights, capsys):
    assert run(folder, "tiny", "--descriptor", "sift") == 2
    assert "expected a FeatureBooster, it holds a ReTracker" in only_line(capsys)
    photo, ckpt = str(folder / "photo.png"), str(weights / "sift.safetensors")
    assert main(["match", photo, photo, "--ckpt", ckpt, "--out", str(folder / "out")]) == 2
    assert "expected a net that follows points, which a FeatureBooster does not" in capsys.readouterr().err
