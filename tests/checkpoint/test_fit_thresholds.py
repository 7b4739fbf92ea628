"""tools/fit_thresholds.py: what it fits is what was true."""

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from retracker.checkpoint import build_net, load, save_safetensors
from retracker.types import Queries, VideoSample

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "fit_thresholds.py"))
FRAMES, POINTS = 50, 200
BOOSTER = {
    "_target_": "retracker.models.descriptor.build_booster",
    "preset": "ORB+Boost-B",
    "keypoint_encoder": True,
    "cross_boosting": True,
    "attention": "aft",
    "dropout": 0.0,
}


def answers(scale, shift, *, far=100.0):
    """A net whose certainty is off by a known scale and shift: right with probability sigmoid(a x + b)."""
    rng = torch.Generator().manual_seed(0)
    certainty = 3 * torch.randn(FRAMES, POINTS, generator=rng)
    right = torch.rand(FRAMES, POINTS, generator=rng) < (scale * certainty + shift).sigmoid()
    still, yes = torch.full((FRAMES, POINTS, 2), 128.0), torch.ones(FRAMES, POINTS, dtype=torch.bool)
    sample = VideoSample(
        video=torch.zeros(FRAMES, 3, 256, 256, dtype=torch.uint8),
        queries=Queries(xy=still[0], frame=torch.zeros(POINTS, dtype=torch.long)),
        tracks=still,
        visible=yes,
        labelled=yes,
        located=yes,
        name="made",
    )
    tracks = still + far * (~right)[..., None]
    return TOOL["Answer"](sample, tracks, certainty.sigmoid(), certainty, yes)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.4, -1.0), (2.0, 0.5)])
def test_the_confidence_that_is_fitted_is_the_one_that_was_true(scale, shift):
    found = TOOL["fit_confidence"]([answers(scale, shift)])
    assert found == pytest.approx((scale, shift), abs=0.12)


def test_the_threshold_is_where_what_is_seen_and_what_is_not_part():
    found = answers(1.0, 0.0)
    seen = torch.rand(FRAMES, POINTS, generator=torch.Generator().manual_seed(2)) < 0.5
    sample = replace(found.sample, visible=seen)
    right = replace(found, sample=sample, tracks=sample.tracks, chance=torch.where(seen, 0.6, 0.4))
    assert 0.4 <= TOOL["best_threshold"]([("easy", right)]) < 0.6
    assert TOOL["threshold_table"]([("easy", right)]).row_count == len(TOOL["THRESHOLDS"])
    assert "error" in TOOL["calibration_table"]([right], 1.0, 0.0).caption


def test_a_net_that_is_always_right_has_nothing_to_fit():
    with pytest.raises(ValueError, match="always right"):
        TOOL["fit_confidence"]([answers(1.0, 0.0, far=0.0)])


def test_calibration_changes_confidence_and_nothing_else():
    net = load("tiny")
    video = torch.randint(
        0, 255, (1, 3, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    queries = Queries(
        xy=torch.tensor([[[20.0, 30.0], [40.0, 12.0]]]), frame=torch.zeros(1, 2, dtype=torch.long)
    )
    net.confidence_scale, net.confidence_shift = 1.0, 0.0
    with torch.inference_mode():
        plain = net(video, queries)
        net.confidence_scale, net.confidence_shift = 0.5, -1.0
        fitted = net(video, queries)
    assert torch.equal(plain.tracks, fitted.tracks) and torch.equal(plain.visible, fitted.visible)
    expected = (0.5 * plain.confidence[:, 1:].logit() - 1).sigmoid()
    torch.testing.assert_close(fitted.confidence[:, 1:], expected, atol=1e-4, rtol=1e-3)
    assert (fitted.confidence[:, 0] == 1).all()


def test_what_is_written_is_what_was_fitted_and_how_far_small_films_are_enlarged(monkeypatch, tmp_path):
    found = [("easy", answers(0.8, -0.5))] * 2
    monkeypatch.setitem(TOOL["run"].__globals__, "answer_all", lambda *_: found)
    first, again = tmp_path / "first.safetensors", tmp_path / "again.safetensors"
    assert TOOL["main"](["tiny", "--most-enlarged", "1.5", "--write", str(first)]) == 0
    assert TOOL["main"]([str(first), "--write", str(again)]) == 0
    for path in (first, again):
        net = load(path)
        assert net.most_enlarged == 1.5 and net.confidence_scale == pytest.approx(0.8, abs=0.12)


def test_a_booster_is_refused_in_a_sentence(tmp_path, capsys):
    save_safetensors(build_net(BOOSTER), BOOSTER, tmp_path / "booster.safetensors")
    assert TOOL["main"]([str(tmp_path / "booster.safetensors")]) == 2
    assert "expected a net that follows points, which a FeatureBooster does not" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--clips", "1"],
        ["--most-enlarged", "0.5", "--write", "a.safetensors"],
        ["--most-enlarged", "1.25"],
        ["--half"],
    ],
)
def test_a_user_mistake_is_one_line_and_exit_code_2(words, capsys):
    assert TOOL["main"](["tiny", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
