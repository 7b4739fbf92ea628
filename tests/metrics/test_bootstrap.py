"""The paired bootstrap calls noise noise, and a difference a difference."""

import numpy as np
import pytest

from retracker.metrics.bootstrap import Measure, exact_area, paired_bootstrap, plain_mean
from retracker.metrics.pose import pose_auc


def compared(a, b, samples=1000, seed=0):
    measures = [plain_mean(np.asarray(values, dtype=np.float64)) for values in (a, b)]
    return paired_bootstrap(*measures, samples, np.random.default_rng(seed))


def test_a_difference_that_all_items_share_is_as_sure_as_the_samples_allow():
    found = compared([0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.4, 0.5])
    assert found.observed == pytest.approx(0.1) and found.share_above == 1
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))
    assert found.p == pytest.approx(2 / 1001) and found.beyond_noise


def test_items_that_gain_what_others_lose_are_noise():
    found = compared([0.5] * 40, [0.4, 0.6] * 20)
    assert found.p > 0.9 and not found.beyond_noise
    assert found.low == pytest.approx(-found.high, abs=0.01)


def test_equal_scores_do_not_differ():
    found = compared([0.1, 0.5], [0.1, 0.5])
    assert (found.observed, found.low, found.high, found.p, found.share_above) == (0, 0, 0, 1, 0)


def test_the_roles_may_be_swapped():
    random = np.random.default_rng(3)
    a, b = random.normal(size=(2, 25))
    one, other = compared(a, b), compared(b, a)
    assert one.observed == pytest.approx(-other.observed) and one.p == pytest.approx(other.p)
    assert one.low == pytest.approx(-other.high) and one.high == pytest.approx(-other.low)


def test_it_is_the_difference_that_counts_not_how_items_differ_from_one_another():
    random = np.random.default_rng(5)
    hardness = random.normal(scale=100, size=30)
    gains = random.normal(loc=1, scale=0.5, size=30)
    assert compared(hardness, hardness + gains).beyond_noise


def test_the_interval_of_a_mean_is_as_wide_as_the_books_say():
    values = np.random.default_rng(7).normal(size=200)
    found = compared(np.zeros(200), values, samples=20_000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(200)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.03)


def test_false_alarms_are_as_rare_as_they_should_be():
    random = np.random.default_rng(11)
    alarms = sum(
        compared(*random.normal(size=(2, 30)), samples=500, seed=trial).beyond_noise for trial in range(300)
    )
    assert 4 <= alarms <= 28  # 5 % of 300 are 15; a fair test is outside of this once in some 700 times


def test_the_blocks_do_not_matter(monkeypatch):
    random = np.random.default_rng(13)
    a, b = random.normal(size=(2, 10))
    whole = compared(a, b)
    monkeypatch.setattr("retracker.metrics.bootstrap.BLOCK", 70)
    assert compared(a, b) == whole


@pytest.mark.parametrize("threshold", [5, 10, 20])
@pytest.mark.parametrize("runs", [1, 5])
def test_an_area_of_drawn_items_is_that_of_their_errors(threshold, runs):
    random = np.random.default_rng(17)
    errors = random.exponential(8.0, size=(40, runs))
    errors[::7] = np.inf
    errors[3] = float(threshold)
    measure = exact_area(errors, threshold)
    for _ in range(50):
        items = random.integers(40, size=random.integers(1, 60))
        [expected] = pose_auc(errors[items].reshape(-1), (threshold,))
        assert float(measure.of(items[None])[0]) == pytest.approx(expected, abs=1e-12)


def test_areas_of_the_reference():
    errors = np.array([[1.0], [3.0], [8.0], [30.0]])
    found = [exact_area(errors, threshold).score for threshold in (5, 10, 20)]
    assert found == pytest.approx([0.375, 0.55, 0.65], abs=1e-15)
    assert exact_area(np.array([[5.0]]), 5).score == 0
    assert exact_area(np.array([[np.inf]]), 5).score == 0


def test_too_little_to_compare_is_refused():
    with pytest.raises(ValueError, match="at least 2 items"):
        compared([0.1], [0.2])
    with pytest.raises(ValueError, match="got 1 of"):
        compared([0.1, 0.2], [0.2, 0.3], samples=1)
    longer = Measure(values=np.zeros(3), tips=np.zeros(3))
    with pytest.raises(ValueError, match="of 2 and 3"):
        paired_bootstrap(plain_mean(np.zeros(2)), longer, 10, np.random.default_rng(0))
