"""The weights that ship: they load by name, are small, track, and say what they are."""

from importlib import resources

import pytest
import torch

import retracker
from retracker.benchmarks.baselines import stay
from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tracking import queries_txy, score_clip
from retracker.data.datasets.synthetic import Synthetic

WEIGHTS = resources.files("retracker") / "weights"
MAX_BYTES = 16_000_000


@pytest.fixture(scope="module")
def tiny():
    return retracker.load("tiny")


def test_tiny_is_small_and_has_a_model_card():
    assert len((WEIGHTS / "tiny.safetensors").read_bytes()) <= MAX_BYTES
    assert "tiny" in (WEIGHTS / "MODEL_CARD.md").read_text()


def test_tiny_comes_ready_to_use(tiny):
    assert not tiny.training and tiny.config["image_size"] == tiny.image_size
    assert {p.device.type for p in tiny.parameters()} == {"cpu"}
    assert {p.dtype for p in tiny.parameters()} == {torch.float32}


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_tiny_tracks_what_it_has_never_seen(tiny, difficulty):
    clip = Synthetic(1, difficulty, num_frames=24, num_points=32, size=256, seed=2718281)[0]
    found = retracker.track(tiny, clip.video, queries_txy(clip))
    ours = score_clip(clip, Tracked(tracks=found.tracks, visible=found.visible, confidence=found.confidence))
    unmoved = score_clip(clip, stay(clip.video, queries_txy(clip)))
    assert ours["average_jaccard"] > unmoved["average_jaccard"] + 0.15
    assert ours["average_pts_within_thresh"] > unmoved["average_pts_within_thresh"] + 0.15
