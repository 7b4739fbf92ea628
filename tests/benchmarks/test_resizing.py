"""Sizes at which matchers see images, and the way back."""

import pytest
import torch
from posed_points import answer, pair

from retracker.benchmarks.protocol import Matched
from retracker.benchmarks.resizing import Resize, ask_resized, check_matches


def resize(side, px, multiple=1, filter="linear", rounding="nearest"):
    return Resize(side=side, px=px, rounding=rounding, multiple=multiple, filter=filter)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (resize("stored", None), (1065, 1600)),
        (resize("stored", None, 32), (1056, 1600)),
        (resize("long", 840), (559, 840)),
        (resize("long", 840, 8), (552, 840)),  # LoFTR's
        (resize("short", 480), (480, 721)),
        (resize("exact", [640, 480]), (480, 640)),
        (resize("long", 10, 32), (32, 32)),  # never nothing
    ],
)
def test_sizes(rule, expected):
    assert rule.size(1065, 1600) == expected
    assert tuple(rule(torch.zeros(3, 1065, 1600, dtype=torch.uint8)).shape[1:]) == expected


@pytest.mark.parametrize("side", ["long", "short"])
def test_rounding_down_is_glue_factorys(side):
    """1600 / 1065 * 480 = 721.1, 1065 / 1600 * 480 = 319.5; 1000 / 667 * 480 = 719.6."""
    rule = resize(side, 480, rounding="down")
    assert rule.size(1065, 1600) == {"long": (319, 480), "short": (480, 721)}[side]
    assert rule.size(1600, 1065) == {"long": (480, 319), "short": (721, 480)}[side]
    assert rule.size(667, 1000) == {"long": (320, 480), "short": (480, 719)}[side]
    assert (
        rule.size(700, 700) == (480, 480) and rule.describe() == f"{side} side 480 px, the other rounded down"
    )


def test_an_image_of_that_size_already_is_left_alone():
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    assert resize("exact", [640, 480])(image) is image


def test_factors_are_not_rounded():
    assert resize("long", 1200).factors(1065, 1600) == (0.75, 0.75)
    assert resize("exact", [640, 480]).factors(960, 1600) == (0.5, 0.4)


@pytest.mark.parametrize(
    "wrong", [("wide", 3), ("long", None), ("stored", 3), ("exact", 640), ("exact", [640]), ("short", 0)]
)
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="resize: expected side stored or long or short or exact"):
        resize(*wrong)


def test_an_answer_comes_back_to_the_stored_images_by_a_pure_ratio():
    """The lower right corner of what the matcher saw is that of the image, in both of them."""

    def corners(image0, image1):
        ends = [torch.tensor([[0.0, 0.0], [image.shape[2], image.shape[1]]]) for image in (image0, image1)]
        return Matched(points0=ends[0], points1=ends[1], confidence=torch.ones(2))

    item = pair()
    found = ask_resized(corners, item.image0, item.image1, resize("long", 333, 8), item.name)
    assert found.points0.tolist() == [[0, 0], [640, 480]] and found.points1.tolist() == [[0, 0], [600, 500]]
    assert found.points0.dtype == torch.float64


def test_an_answer_that_is_not_finite_is_refused_by_the_name_of_the_pair():
    item = pair()

    def matcher(image0, image1):
        del image0, image1
        return answer([[1.0, float("nan")]], [[1.0, 1.0]])

    with pytest.raises(ValueError, match="a/b: .*not finite"):
        ask_resized(matcher, item.image0, item.image1, resize("stored", None), item.name)


def test_an_answer_of_the_wrong_shape_is_refused_by_the_name_of_the_pair():
    found = answer([[1.0, 2.0]], [[1.0, 1.0]])
    object.__setattr__(found, "confidence", torch.ones(2))  # as a program would that is not type-checked
    with pytest.raises(ValueError, match=r"a/b: expected points \(M, 2\)"):
        check_matches(found, "a/b")
