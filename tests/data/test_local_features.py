"""OpenCV's keypoints: where they are, what is said of them, and nothing where there is nothing."""

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from retracker.data.local_features import Orb, Sift, pack_bits, unpack_bits

FLAT = torch.full((3, 120, 160), 77, dtype=torch.uint8)


def photograph(height=300, width=353):
    """Of sizes that no level of a pyramid divides."""
    picture = np.ascontiguousarray(skimage.data.astronaut()[:height, :width])
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()


def nearest(features0, features1):
    """For each keypoint the one of the other image that looks most alike."""
    return (features0.descriptors @ features1.descriptors.T).argmax(1)


@pytest.mark.parametrize("extractor", [Sift(400), Orb(400)], ids=lambda e: e.name)
def test_keypoints_of_a_picture_turned_by_half_are_turned_by_half(extractor):
    # Indices of pixels would be off by one, and ORB's of smaller levels by more.
    picture = photograph()
    found, turned = extractor(picture), extractor(picture.flip((1, 2)))
    back = torch.tensor([353.0, 300.0]) - turned.xy[nearest(found, turned)]
    error = back - found.xy
    same = error.norm(dim=1) < 2
    assert same.float().mean() > 0.7
    for low, high in ((0, 1.5), (1.5, 2.2), (2.2, 9)):
        level = same & (found.geometry[:, 0] > low) & (found.geometry[:, 0] <= high)
        assert level.sum() > 10
        assert error[level].mean(0).abs().max() < 0.05


@pytest.mark.parametrize("extractor", [Sift(400), Orb(400)], ids=lambda e: e.name)
def test_keypoints_of_a_smaller_picture_are_where_those_of_the_larger_are(extractor):
    picture = photograph(400, 400)
    small = cv2.resize(picture.permute(1, 2, 0).numpy(), (200, 200), interpolation=cv2.INTER_AREA)
    found, smaller = extractor(picture), extractor(torch.from_numpy(small).permute(2, 0, 1).contiguous())
    error = 2 * smaller.xy[nearest(found, smaller)] - found.xy
    same = error.norm(dim=1) < 3
    assert same.sum() > 60
    # Half a pixel of convention would be half a pixel here; ORB finds whole pixels of each level only.
    assert error[same].mean(0).abs().max() < 0.25


def test_a_turned_picture_turns_angles_and_an_enlarged_one_enlarges_sizes():
    picture = photograph(300, 300)
    for extractor in (Sift(300), Orb(300)):
        found, turned = extractor(picture), extractor(picture.rot90(-1, (1, 2)).contiguous())  # clockwise
        match = nearest(found, turned)
        change = (turned.geometry[match, 1] - found.geometry[:, 1]) % (2 * torch.pi)
        assert change.median() == pytest.approx(torch.pi / 2, abs=0.05)  # y is down: clockwise is positive
        assert (turned.geometry[match, 0] / found.geometry[:, 0]).median() == pytest.approx(1, abs=0.05)
    large = cv2.resize(picture.permute(1, 2, 0).numpy(), (600, 600), interpolation=cv2.INTER_CUBIC)
    larger = Sift(300)(torch.from_numpy(large).permute(2, 0, 1).contiguous())
    found = Sift(300)(picture)
    assert (larger.geometry[nearest(found, larger), 0] / found.geometry[:, 0]).median() == pytest.approx(
        2, rel=0.1
    )


def test_what_is_said_of_a_keypoint_follows_the_boosters_conventions():
    picture = photograph()
    grey = cv2.cvtColor(picture.permute(1, 2, 0).numpy(), cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = cv2.SIFT_create(enable_precise_upscale=True).detectAndCompute(grey, None)
    best = int(np.argmax([keypoint.response for keypoint in keypoints]))
    found = Sift(5000)(picture)
    expected = [keypoints[best].size / 2, np.deg2rad(keypoints[best].angle)]
    torch.testing.assert_close(found.geometry[0], torch.tensor(expected).float())
    torch.testing.assert_close(found.xy[0], torch.tensor(keypoints[best].pt) + 0.5)
    unit = torch.from_numpy(descriptors[best] / np.linalg.norm(descriptors[best]))
    torch.testing.assert_close(found.descriptors[0], unit)
    orb = Orb(300)(picture)
    levels = orb.geometry[:, 0].log() / np.log(1.2)  # the size is in patches of 31 px
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert set(orb.descriptors.unique().tolist()) == {-1.0, 1.0}
    assert orb.geometry[:, 1].min() >= 0 and 3.2 < orb.geometry[:, 1].max() < 2 * torch.pi


@pytest.mark.parametrize("kind", [Sift, Orb])
def test_the_strongest_come_first_and_the_same_every_time(kind):
    picture = photograph()
    few, again = kind(50)(picture), kind(50)(picture)
    assert len(few.xy) == 50 and few.present.all() and few.size.tolist() == [300, 353]
    assert torch.equal(few.xy, again.xy) and torch.equal(few.descriptors, again.descriptors)
    if kind is Sift:  # ORB shares its number out among the levels
        torch.testing.assert_close(Sift(20)(picture).xy, few.xy[:20])
    with pytest.raises(ValueError, match="max_keypoints must be at least 1, got 0"):
        kind(0)


@pytest.mark.parametrize(("extractor", "width"), [(Sift(9), 128), (Orb(9), 256)], ids=["sift", "orb"])
@pytest.mark.parametrize(
    "image", [FLAT, FLAT[:, :1, :1], FLAT[:, :40, :5]], ids=lambda x: str(tuple(x.shape))
)
def test_where_nothing_is_to_be_seen_there_are_no_keypoints(extractor, width, image):
    found = extractor(image)
    assert found.xy.shape == (0, 2) and found.geometry.shape == (0, 2)
    assert found.descriptors.shape == (0, width) and found.present.shape == (0,)


def test_the_first_bit_is_the_lowest_of_the_first_byte():
    descriptors = torch.tensor([[0.3, -1, -1, -1, -1, -1, -1, 0.0, -1, 1, -1, -1, -1, -1, -1, -1]])
    packed = pack_bits(descriptors)
    assert packed.tolist() == [[1 + 128, 2]] and packed.dtype == torch.uint8
    expected = torch.tensor([1.0, -1, -1, -1, -1, -1, -1, 1, -1, 1, -1, -1, -1, -1, -1, -1])
    assert torch.equal(unpack_bits(packed), expected[None])


def test_orbs_bytes_come_back():
    packed = torch.randint(0, 256, (5, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pack_bits(unpack_bits(packed)), packed)
