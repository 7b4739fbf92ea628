"""Calibration, by hand and by its properties."""

import pytest
import torch

from retracker.metrics.calibration import brier, reliability
from retracker.visualize.reliability import Bins, write_reliability


def test_error_and_brier_score_by_hand():
    confidence = torch.tensor([0.1, 0.1, 0.9, 0.9, 1.0])
    truth = torch.tensor([False, True, True, True, False])
    found = reliability(confidence, truth, 2)
    assert found.count.tolist() == [2, 3]
    assert found.said.tolist() == pytest.approx([0.1, 2.8 / 3])
    assert found.came.tolist() == pytest.approx([0.5, 2 / 3])
    assert found.error == pytest.approx((2 * 0.4 + 3 * (2.8 - 2) / 3) / 5)
    assert brier(confidence, truth) == pytest.approx((0.01 + 0.81 + 0.01 + 0.01 + 1) / 5)


def test_what_comes_true_as_often_as_it_was_said_has_no_error_and_another_confidence_has_its_gap():
    rng = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=rng)
    truth = torch.rand(200_000, generator=rng) < confidence
    assert reliability(confidence, truth, 15).error < 0.01
    assert reliability((confidence / 2).float(), truth, 15).error == pytest.approx(0.25, abs=0.01)


def test_bins_without_answers_do_not_count_and_none_at_all_is_an_error():
    found = reliability(torch.full((4,), 0.5), torch.ones(4).bool(), 10)
    assert found.count.sum() == 4 and found.error == pytest.approx(0.5)
    with pytest.raises(ValueError, match="at least one answer"):
        reliability(torch.zeros(0), torch.zeros(0).bool(), 10)


def test_the_diagram_of_the_same_numbers_is_the_same_file(tmp_path):
    bins = Bins(said=[0.2, 0.0, 0.9], came=[0.1, 0.0, 0.95], count=[5, 0, 20])
    files = [write_reliability(tmp_path / name, "made", bins, {"easy": bins}) for name in ("a.png", "b.png")]
    assert files[0].read_bytes() == files[1].read_bytes()
