"""Features in files: ours, SuperPoint's and ALIKE's shapes, and what is none."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from retracker.media.features import parse_features, read_features, write_features
from retracker.types import LocalFeatures

SIZE = (60, 80)


def arrays(num=5, width=8, seed=0):
    """As ALIKE leaves them: descriptors (N,D)."""
    rng = np.random.default_rng(seed)
    descriptors = rng.normal(size=(num, width)).astype(np.float32)
    return {
        "keypoints": (rng.random((num, 2)) * [79, 59]).astype(np.float32),
        "scores": rng.random(num).astype(np.float32),
        "descriptors": descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True),
    }


def parse(found, pixel_centre=0):
    return parse_features(found, "here.npz", SIZE, pixel_centre)


def test_the_strongest_come_first_with_their_score_as_geometry():
    given = arrays() | {"scores": np.float32([0.2, 0.9, 0.1, 0.5, 0.4])}
    found = parse(given)
    order = [1, 3, 4, 0, 2]
    torch.testing.assert_close(found.geometry, torch.tensor([[0.9], [0.5], [0.4], [0.2], [0.1]]))
    torch.testing.assert_close(found.xy, torch.from_numpy(given["keypoints"][order]) + 0.5)
    torch.testing.assert_close(found.descriptors, torch.from_numpy(given["descriptors"][order]))
    assert found.size.tolist() == [60, 80] and found.present.all()


@pytest.mark.parametrize("num", [5, 8, 12])
def test_superpoints_descriptors_may_be_columns(num):
    given = arrays(num=num)  # 8 keypoints with 8 numbers: a square, told by what is of unit length
    columns = given | {"descriptors": given["descriptors"].T.copy()}
    torch.testing.assert_close(parse(columns).descriptors, parse(given).descriptors)


def test_further_columns_of_keypoints_are_their_geometry():
    given = arrays()
    turned = given | {"keypoints": np.concatenate([given["keypoints"], np.full((5, 2), 3.0)], axis=1)}
    assert torch.equal(parse(turned).geometry, torch.full((5, 2), 3.0))
    scored = {"keypoints": np.float32([[3, 4, 0.1], [5, 6, 0.7]]), "descriptors": np.eye(2, 8)}
    found = parse(scored, pixel_centre=0.5)
    torch.testing.assert_close(found.xy, torch.tensor([[5.0, 6.0], [3.0, 4.0]]))
    torch.testing.assert_close(found.geometry, torch.tensor([[0.7], [0.1]]))


def test_descriptors_are_brought_to_unit_length_and_bytes_are_bits():
    given = arrays()
    longer = given | {"descriptors": (7 * given["descriptors"]).astype(np.float16)}
    torch.testing.assert_close(parse(longer).descriptors, parse(given).descriptors, atol=1e-3, rtol=0)
    bits = given | {"scores": np.arange(5, 0, -1), "descriptors": np.full((5, 1), 3, np.uint8)}
    assert parse(bits).descriptors[0].tolist() == [1, 1, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("num", [0, 6])
def test_what_is_written_is_read_again(num, binary, tmp_path):
    generator = torch.Generator().manual_seed(1)
    descriptors = torch.randn(num, 16, generator=generator)
    given = LocalFeatures(
        xy=torch.rand(num, 2, generator=generator) * 60,
        geometry=torch.rand(num, 2, generator=generator),
        descriptors=descriptors.sign() if binary else F.normalize(descriptors, dim=-1),
        present=torch.ones(num, dtype=torch.bool),
        size=torch.tensor(SIZE),
    )
    path = tmp_path / "features.npz"
    write_features(path, given, binary=binary, image="a.png", detector="sift")
    found = read_features(path, SIZE, pixel_centre=0)  # the file knows better
    for name in ("xy", "geometry", "descriptors", "present", "size"):
        torch.testing.assert_close(getattr(found, name), getattr(given, name))
    stored = np.load(path)
    assert str(stored["image"]) == "a.png" and bool(stored["binary"]) == binary
    assert stored["descriptors"].shape == (num, 2 if binary else 16)


def without(name):
    return {key: value for key, value in arrays().items() if key != name}


def with_nan(name):
    found = arrays()
    found[name].reshape(-1)[1] = np.nan
    return found


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (without("descriptors"), "descriptors is missing from keypoints, scores"),
        (arrays() | {"keypoints": np.zeros((5, 5))}, r"expected keypoints .* got \(5, 5\)"),
        (arrays() | {"keypoints": np.zeros((4, 2))}, "geometry and scores of 4 keypoints"),
        (arrays() | {"descriptors": np.zeros((6, 8))}, r"of 5 keypoints, got \(6, 8\)"),
        (arrays() | {"descriptors": np.array([["a"] * 8] * 5)}, "expected numbers in descriptors"),
        (with_nan("descriptors"), "expected finite descriptors, 1 of 40 numbers are not"),
        (with_nan("keypoints"), "expected finite keypoints, 1 of 10 numbers are not"),
        (arrays() | {"keypoints": np.full((5, 2), 70.0)}, "5 of 5 keypoints lie outside the image of 60x80"),
        (arrays() | {"size": np.array([80, 60])}, "of an image of 60x80 px, got 80x60"),
        (arrays() | {"pixel_centre": np.array("left")}, "expected 0 or 0.5 for pixel_centre, got left"),
        (arrays() | {"pixel_centre": np.zeros(2)}, "expected 0 or 0.5 for pixel_centre"),
        (arrays() | {"pixel_centre": np.array(np.nan)}, "expected 0 or 0.5 for pixel_centre, got nan"),
    ],
)
def test_features_that_cannot_be_are_refused_by_the_files_name(given, complaint):
    with pytest.raises(ValueError, match=f"^here.npz: .*{complaint}"):
        parse(given)


def test_files_that_are_none_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.npz: no such file"):
        read_features(tmp_path / "a.npz", SIZE, 0)
    for name, content in (("words.npz", b"hello there"), ("pickle.npz", b"\x80\x04K\x01.")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: expected an .npz file of features"):
            read_features(tmp_path / name, SIZE, 0)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match=r"one.npy: expected an .npz"):
        read_features(tmp_path / "one.npy", SIZE, 0)
    np.savez(tmp_path / "objects.npz", keypoints=np.array([None]), descriptors=np.zeros(3))
    with pytest.raises(ValueError, match=r"objects.npz: expected an .npz"):
        read_features(tmp_path / "objects.npz", SIZE, 0)
