"""ReTracker as a contestant: the net that a checkpoint names, however its points are asked for."""

import hashlib
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

import retracker
from retracker.benchmarks.devices import device_of
from retracker.benchmarks.tracking import queries_txy
from retracker.checkpoint import resolve, save_safetensors
from retracker.commands.methods import RetrackerMatcher, RetrackerTracker, checkpoint_sha256
from retracker.configuration import compose_config
from retracker.data.datasets.synthetic import Synthetic
from retracker.inference.corners import corner_points
from retracker.models.descriptor import build_booster


def chosen(kind, *overrides):
    """The contestant of eval.yaml as it is, with some keys changed."""
    return instantiate(compose_config("eval", ["device=cpu", *overrides])[kind], _convert_="all").method


@pytest.fixture(scope="module")
def tracker():
    return chosen("tracker")


@pytest.fixture(scope="module")
def clip():
    return Synthetic(length=1, difficulty="easy", num_frames=8, num_points=24, size=96, seed=3)[0]


@pytest.fixture(scope="module")
def answer(tracker, clip):
    return tracker(clip.video, queries_txy(clip))


def test_it_is_what_retracker_track_says(tracker, clip, answer):
    assert isinstance(tracker, RetrackerTracker)
    found = retracker.track(retracker.load("tiny"), clip.video, queries_txy(clip))
    for name in ("tracks", "visible", "confidence"):
        assert torch.equal(getattr(answer, name), getattr(found, name))


@pytest.mark.parametrize("size", [9, 24, 1000])
def test_points_in_batches_are_the_same_to_the_bit(tracker, clip, answer, size):
    batched = replace(tracker, points_at_once=size)(clip.video, queries_txy(clip))
    for name in ("tracks", "visible", "confidence"):
        assert torch.equal(getattr(answer, name), getattr(batched, name))


def test_nobody_can_be_asked_for(tracker, clip):
    for size in (None, 7):
        assert replace(tracker, points_at_once=size)(clip.video, torch.zeros(0, 3)).tracks.shape == (8, 0, 2)


def test_bfloat16_differs_a_little_and_rounds_no_position(tracker, clip, answer):
    rounded = replace(tracker, precision="bf16")(clip.video, queries_txy(clip))
    apart = (rounded.tracks - answer.tracks).norm(dim=-1)[answer.visible]
    assert 0 < apart.mean() < 0.1  # 8 bits would leave positions of 96 px half a pixel apart
    assert rounded.tracks.dtype == rounded.confidence.dtype == torch.float32
    moved = apart > 0
    tracks = rounded.tracks[answer.visible][moved]
    assert (tracks.bfloat16() == tracks).float().mean() < 0.05
    assert not torch.is_autocast_enabled("cpu")


def test_another_working_size_is_another_answer(tracker, clip, answer):
    smaller = replace(tracker, image_size=128)(clip.video, queries_txy(clip))
    assert not torch.equal(smaller.tracks, answer.tracks)
    assert (smaller.tracks - answer.tracks).norm(dim=-1)[answer.visible].median() < 1


def test_a_threshold_is_told_to_the_net_and_belongs_to_what_results_are_named_after(tracker, clip, answer):
    strict = replace(tracker, visible_threshold=1.0)(clip.video, queries_txy(clip))
    assert torch.equal(strict.tracks, answer.tracks) and strict.visible.sum() == len(queries_txy(clip))
    assert chosen("tracker", "visible_threshold=0.3").visible_threshold == 0.3
    assert chosen("matcher", "match_threshold=0.3").match_threshold == 0.3
    image0, image1, _ = pair()
    of_few = ["matcher.method.corners=null", "matcher.method.grid=3"]
    assert len(chosen("matcher", "match_threshold=1", *of_few)(image0, image1).points0) == 0


def test_a_net_is_loaded_once_for_all_benchmarks(tracker):
    assert chosen("tracker").net() is tracker.net() is chosen("matcher").net()


def test_a_checkpoint_that_was_written_anew_is_read_anew(tmp_path):
    path = tmp_path / "copy.safetensors"
    shutil.copy(resolve("tiny"), path)
    before = chosen("tracker", f"ckpt={path}")
    first = before.net()
    shutil.copy(resolve("tiny"), path)
    assert before.net() is not first


def test_an_untrained_net_is_that_of_its_seed():
    options = ("ckpt=untrained", "pretrained=none")
    first, again, other = (chosen("tracker", *options, f"seed={seed}").net() for seed in (1, 1, 2))
    weights = [torch.nn.utils.parameters_to_vector(net.parameters()) for net in (first, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not first.training


def test_a_checkpoint_is_told_by_its_content(tmp_path):
    path = tmp_path / "copy.safetensors"
    shutil.copy(resolve("tiny"), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint_sha256("tiny") == checkpoint_sha256(str(path)) == digest
    assert checkpoint_sha256("untrained") == "untrained"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("precision=fp16", "precision: expected fp32 or bf16, got 'fp16'"),
        ("device=gpu0", "device: 'gpu0' cannot be used here; try device=cpu"),
        ("ckpt=nowhere", "there is no checkpoint 'nowhere'"),
        ("image_size=0", "image_size: expected a positive number"),
        ("points_at_once=0", "points_at_once: expected a positive number"),
    ],
)
def test_what_cannot_be_is_said_at_once(override, complaint):
    with pytest.raises((InstantiationException, ValueError, OSError), match=complaint):
        chosen("tracker", override)


@pytest.mark.parametrize("kind", ["tracker", "matcher"])
def test_a_booster_is_no_contestant(kind, tmp_path):
    switches = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}
    config = {"_target_": "retracker.models.descriptor.build_booster", "preset": "ORB+Boost-B", **switches}
    save_safetensors(build_booster("ORB+Boost-B", **switches), config, tmp_path / "orb.safetensors")
    with pytest.raises(InstantiationException) as refused:
        chosen(kind, f"ckpt={tmp_path / 'orb.safetensors'}")
    told = str(refused.value.__cause__)
    assert told.startswith(f"{tmp_path / 'orb.safetensors'}: expected a net that follows points")


def test_each_process_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of("auto") == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of("auto") == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == torch.device("cpu")


def pair():
    """A texture and what a similarity makes of it, as (3,H,W), with the 2 x 3 matrix in raster pixels."""
    rng = np.random.default_rng(0)
    texture = sum(
        cv2.resize(rng.random((n, n)), (160, 160), interpolation=cv2.INTER_CUBIC) for n in (10, 20, 40)
    )
    image = (255 * (texture - texture.min()) / np.ptp(texture)).astype(np.uint8)
    matrix = np.array([[1.1, -0.1, 3.0], [0.1, 1.1, -12.0]])
    shift = np.eye(3)
    shift[:2, 2] = 0.5  # from indices of pixels to raster
    indices = np.linalg.inv(shift) @ np.vstack([matrix, [0, 0, 1]]) @ shift
    moved = cv2.warpAffine(image, indices[:2], (150, 170), borderMode=cv2.BORDER_REFLECT)
    return *(torch.from_numpy(x).expand(3, -1, -1).contiguous() for x in (image, moved)), torch.from_numpy(
        matrix
    )


def test_as_a_matcher_it_finds_a_known_similarity():
    matcher = chosen(
        "matcher", "matcher.method.corners=null", "matcher.method.grid=12", "matcher.method.both=false"
    )
    assert isinstance(matcher, RetrackerMatcher)
    image0, image1, matrix = pair()
    found = matcher(image0, image1)
    truth = found.points0.double() @ matrix[:, :2].T + matrix[:, 2]
    assert len(found.points0) > 30 and (found.points1 - truth).norm(dim=-1).median() < 1.5
    everything = replace(matcher, round_trip=None)(image0, image1)
    assert 30 < len(found.points0) < len(everything.points0) <= 144
    for point, there in zip(found.points0, found.points1, strict=True):
        assert ((everything.points0 == point) & (everything.points1 == there)).all(-1).any()


def test_as_a_matcher_it_looks_for_corners_of_both_images():
    matcher = chosen("matcher", "matcher.method.corners=20")
    image0, image1, matrix = pair()
    of_one = replace(matcher, both=False)(image0, image1)
    corners = corner_points(image0, 20)
    assert 5 < len(of_one.points0) <= 20
    assert all((corners == point).all(-1).any() for point in of_one.points0)
    of_both, count = matcher(image0, image1), len(of_one.points0)
    assert torch.equal(of_both.points0[:count], of_one.points0)
    corners = corner_points(image1, 20)
    assert 5 < len(of_both.points1) - count <= 20
    assert all((corners == point).all(-1).any() for point in of_both.points1[count:])
    truth = of_both.points0.double() @ matrix[:, :2].T + matrix[:, 2]
    assert (of_both.points1 - truth).norm(dim=-1)[count:].median() < 1.5


def test_points_of_both_images_need_a_way_back():
    with pytest.raises(InstantiationException, match="both: points of both images"):
        chosen("matcher", "matcher.method.round_trip=null")


def test_a_matcher_that_finds_nothing_says_so():
    matcher = chosen(
        "matcher", "matcher.method.corners=null", "matcher.method.grid=3", "matcher.method.round_trip=0.0"
    )
    image0, image1, _ = pair()
    assert matcher(image0, image1).points1.shape == (0, 2)
