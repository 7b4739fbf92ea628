"""FastAP and the booster's loss: golden values, gradients, and what must not change them."""

from dataclasses import replace

import pytest
import torch

from retracker.losses.average_precision import fast_ap
from retracker.losses.booster import BoosterLoss, bit_distance, signs
from retracker.types import FeaturePair, LocalFeatures


@pytest.fixture
def loss():
    return BoosterLoss(near=3.0, far=15.0, bins=10, boost_weight=10.0)


def one_query(positive: list[float], negative: list[float], largest: float) -> float:
    distance = torch.tensor([positive + negative])
    is_positive = torch.tensor([[True] * len(positive) + [False] * len(negative)])
    return float(fast_ap(distance, is_positive, ~is_positive, largest))


@pytest.mark.parametrize(
    ("positive", "negative", "expected"),
    [
        ([0.0], [2.0, 2.0, 2.0], 1.0),
        ([4.0], [0.0, 0.0, 0.0], 0.25),
        ([2.0], [2.0, 2.0, 2.0], 0.25),
        ([0.2], [0.2, 2.0, 2.0], 0.5),
        # Bins are 0.4 wide: h+ = (1/2, 1/2), h = (3/2, 3/2).
        ([0.2], [0.0, 0.4], 0.5 * 0.5 / 1.5 + 0.5 * 1.0 / 3.0),
        ([0.0, 2.0], [1.2], 0.5 * (1.0 + 2 / 3)),
    ],
)
def test_average_precision_has_the_golden_values(positive, negative, expected):
    assert one_query(positive, negative, 4.0) == pytest.approx(expected, abs=1e-6)
    assert one_query([64 * d for d in positive], [64 * d for d in negative], 256) == pytest.approx(expected)


def test_a_query_without_positives_has_no_precision_and_no_gradient():
    distance = torch.tensor([[1.0, 2.0]], requires_grad=True)
    nothing = torch.zeros(1, 2, dtype=torch.bool)
    precision = fast_ap(distance, nothing, ~nothing, 4.0)
    precision.sum().backward()
    assert precision.item() == 0 and distance.grad.abs().max() == 0


def test_what_is_neither_positive_nor_negative_counts_for_nothing():
    distance = torch.tensor([[0.5, 0.1, 1.7]])
    positive = torch.tensor([[True, False, False]])
    negative = torch.tensor([[False, False, True]])
    alone = fast_ap(distance[:, [0, 2]], positive[:, [0, 2]], negative[:, [0, 2]], 4.0)
    assert fast_ap(distance, positive, negative, 4.0).item() == alone.item()


def test_the_gradient_is_that_of_finite_differences():
    generator = torch.Generator().manual_seed(0)
    distance = torch.rand(2, 3, 7, generator=generator, dtype=torch.float64) * 4
    kind = torch.randint(0, 3, (2, 3, 7), generator=generator)
    torch.autograd.gradcheck(
        lambda d: fast_ap(d, kind == 0, kind == 1, 4.0), distance.requires_grad_(), eps=1e-7
    )


def test_precision_grows_as_the_match_comes_nearer():
    values = [one_query([d], [0.9, 1.3, 2.1], 4.0) for d in (3.0, 1.7, 1.1, 0.5, 0.0)]
    assert values == sorted(values) and values[-1] == pytest.approx(1.0) and values[0] < 0.3


def test_bits_are_signs_with_the_gradient_of_the_straight_way():
    x = torch.tensor([-0.3, 0.2], requires_grad=True)
    bits = signs(x)
    bits.sum().backward()
    assert bits.tolist() == [-1.0, 1.0] and x.grad.tolist() == [2.0, 2.0]
    assert signs(torch.zeros(1)).item() == 1.0


def test_bit_distance_counts_the_signs_that_differ():
    a = torch.tensor([[[0.1, -0.2, 0.9, -0.9]]])
    b = torch.tensor([[[0.5, 0.5, -0.5, -0.1], [-1.0, 1.0, -1.0, 1.0]]])
    assert bit_distance(a, b).tolist() == [[[2.0, 4.0]]]


def features(xy: torch.Tensor, descriptors: torch.Tensor) -> LocalFeatures:
    return LocalFeatures(
        xy=xy,
        geometry=torch.zeros(*xy.shape[:2], 1),
        descriptors=descriptors,
        present=torch.ones(xy.shape[:2], dtype=torch.bool),
        size=torch.tensor([[100, 100]]),
    )


def still_pair(channels: int = 8, binary: bool = False) -> FeaturePair:
    """Image 1 is image 0 again: four keypoints far apart, which do not move."""
    xy = torch.tensor([[[10.0, 10.0], [50.0, 10.0], [10.0, 50.0], [50.0, 50.0]]])
    found = torch.eye(4, channels)[None]
    descriptors = torch.where(found > 0, 1.0, -1.0) if binary else found
    known = torch.ones(1, 4, dtype=torch.bool)
    both = features(xy, descriptors)
    return FeaturePair(
        features0=both, features1=both, moved0=xy, known0=known, moved1=xy, known1=known, name=("still",)
    )


def test_perfect_descriptors_cost_nothing(loss):
    pair = still_pair()
    total, terms = loss(pair.features0.descriptors, pair.features1.descriptors, pair, binary=False)
    assert total.item() == pytest.approx(0, abs=1e-6) and terms["boost"].item() == 0


def test_the_loss_of_descriptors_that_are_all_alike(loss):
    """AP is 1/4 for each query; the originals have 1, so that the second term is 1 / (1/4) - 1 = 3."""
    pair = still_pair()
    alike = torch.nn.functional.normalize(torch.ones(1, 4, 8), dim=-1)
    total, terms = loss(alike, alike, pair, binary=False)
    assert terms["ap"].item() == pytest.approx(0.75, abs=1e-5)
    assert terms["boost"].item() == pytest.approx(3.0, abs=1e-4)
    assert total.item() == pytest.approx(0.75 + 10 * 3, abs=1e-3)


@pytest.mark.parametrize("scale", [0.1, 0.9])
def test_binary_descriptors_count_by_their_signs_alone(loss, scale):
    pair = still_pair(binary=True)
    bits = pair.features0.descriptors
    # Signs of different keypoints differ in two of eight places: bins of 0.8 bits keep the two apart.
    assert loss(bits * scale, bits, pair, binary=True)[0].item() == pytest.approx(0, abs=1e-6)


def test_original_bits_have_the_precision_of_their_hamming_distance(loss):
    """Public training code compares them as if they were 0 and 1, and of unit length (its issue 15)."""
    generator = torch.Generator().manual_seed(1)
    pair = still_pair()
    bits0, bits1 = (torch.randint(0, 2, (1, 4, 8), generator=generator) * 2.0 - 1 for _ in range(2))
    both = {
        "features0": replace(pair.features0, descriptors=bits0),
        "features1": replace(pair.features1, descriptors=bits1),
    }
    original = loss.rank(bits0, bits1, replace(pair, **both), binary=True)
    torch.testing.assert_close(original.original, original.boosted)


def test_matches_are_near_and_others_far(loss):
    """3 px along each axis is near; 15 px is far; in between a keypoint counts for nothing."""
    xy0, known = torch.tensor([[[40.0, 40.0]]]), torch.ones(1, 1, dtype=torch.bool)
    for shift, positive, negative in ((3.0, True, False), (3.5, False, False), (15.0, False, True)):
        xy1 = xy0 + shift
        labels = loss._labels(
            xy0, known, features(xy0, torch.ones(1, 1, 2)), features(xy1, torch.ones(1, 1, 2))
        )
        assert [bool(label) for label in labels] == [positive, negative]


def test_padding_and_what_is_not_known_change_nothing(loss):
    pair = still_pair()
    generator = torch.Generator().manual_seed(2)
    boosted = torch.nn.functional.normalize(torch.randn(2, 1, 4, 8, generator=generator), dim=-1)
    expected, _ = loss(*boosted, pair, binary=False)

    def padded(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.zeros_like(x[:, :2])], dim=1)

    longer = FeaturePair(
        **{
            name: LocalFeatures(
                xy=padded(side.xy),
                geometry=padded(side.geometry),
                descriptors=padded(side.descriptors),
                present=padded(side.present),
                size=side.size,
            )
            for name, side in (("features0", pair.features0), ("features1", pair.features1))
        },
        moved0=padded(pair.moved0),
        known0=padded(pair.known0),
        moved1=padded(pair.moved1),
        known1=padded(pair.known1),
        name=("padded",),
    )
    total, _ = loss(padded(boosted[0]), padded(boosted[1]), longer, binary=False)
    assert total.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_pair_without_a_single_match_costs_nothing_and_is_finite(loss):
    pair = still_pair()
    unknown = replace(pair, known0=~pair.known0, known1=~pair.known1)
    boosted = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total, _ = loss(boosted, boosted, unknown, binary=True)
    total.backward()
    assert total.item() == 0 and boosted.grad.isfinite().all()


def test_radii_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="near <= far"):
        BoosterLoss(near=15.0, far=3.0, bins=10, boost_weight=10.0)
