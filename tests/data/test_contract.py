"""What every data set of videos with tracks must do, tested on a small tree in its own layout."""

import importlib
import pickle
import pkgutil

import layouts
import pytest
import torch
from layouts.truth import rendered

from retracker.data.recordings import Recordings, in_frame
from retracker.types import VideoSample

MODULES = [name for _, name, _ in pkgutil.iter_modules(layouts.__path__) if name != "truth"]
LAYOUTS = [
    layout
    for name in MODULES
    for layout in vars(importlib.import_module(f"layouts.{name}")).values()
    if isinstance(layout, layouts.Layout)
]


@pytest.fixture(scope="module")
def truths():
    return [rendered(seed) for seed in (11, 12)]


@pytest.fixture(scope="module", params=LAYOUTS, ids=[layout.config for layout in LAYOUTS])
def layout(request):
    return request.param


@pytest.fixture
def tree(layout, truths, tmp_path):
    layout.write(tmp_path / "root", truths)
    return tmp_path / "root"


def same(one: VideoSample, other: VideoSample) -> bool:
    equal = [one.name == other.name]
    one.map(lambda a, b: equal.append(torch.equal(a, b)) or a, other)
    return all(equal)


def test_every_recording_is_there_with_its_frames(layout, tree, truths):
    clips = layout.open(tree)
    assert isinstance(clips, Recordings) and len(clips) == len(truths)
    for index, truth in enumerate(truths):
        sample = clips[index]
        assert clips.num_frames(index) == len(sample.video) == len(truth.video)
        assert sample.name.startswith(f"{layout.config}/")
        difference = (sample.video.float() - truth.video.float()).abs()
        assert difference.max() == 0 if layout.lossless else difference.mean() < 4
    assert len({clips[index].name for index in range(len(clips))}) == len(clips)
    with pytest.raises(IndexError):
        clips[len(clips)]


def test_tracks_and_visibility_are_the_truth(layout, tree, truths):
    clips = layout.open(tree)
    for index, truth in enumerate(truths):
        sample = clips[index]
        truth = layout.truth_of(truth, sample)
        known = truth.visible.any(0)
        assert sample.tracks.shape[1] == known.sum()
        error = (sample.tracks - truth.tracks[:, known]).norm(dim=-1)
        assert error[sample.located].max() <= layout.tolerance
        inner = known_away_from_the_border(truth)[:, known]
        assert torch.equal((sample.visible & inner), truth.visible[:, known] & inner)
        assert sample.labelled[sample.visible].all()


def known_away_from_the_border(truth):
    """Rounding may carry a point over the frame's border, where its visibility ends."""
    size = truth.tracks.new_tensor([truth.video.shape[-1], truth.video.shape[-2]])
    return ((truth.tracks > 0.05) & (truth.tracks < size - 0.05)).all(-1) | ~truth.visible


def test_labels_are_consistent(layout, tree):
    clips = layout.open(tree)
    for index in range(len(clips)):
        sample = clips[index]
        assert sample.tracks.isfinite().all() and sample.tracks.dtype == torch.float32
        assert (sample.labelled & sample.located)[sample.visible].all()
        assert in_frame(sample.tracks, sample.video)[sample.visible].all()
        points = torch.arange(sample.tracks.shape[1])
        assert sample.visible[sample.queries.frame, points].all()
        assert torch.equal(sample.tracks[sample.queries.frame, points], sample.queries.xy)


def test_any_frames_are_those_of_the_whole(layout, tree):
    clips = layout.open(tree)
    whole, part = clips[0], clips.read(0, [4, 2, 2])
    assert torch.equal(part.video, whole.video[[4, 2, 2]])
    seen = whole.visible[[4, 2, 2]].any(0)
    assert torch.equal(part.tracks, whole.tracks[[4, 2, 2]][:, seen])
    assert torch.equal(part.visible, whole.visible[[4, 2, 2]][:, seen])


def test_reading_is_repeatable_also_in_another_process(layout, tree):
    clips = layout.open(tree)
    assert same(clips[1], clips[1]) and same(pickle.loads(pickle.dumps(clips))[1], clips[1])


def test_a_wrong_root_is_told_in_one_sentence(layout, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere") as caught:
        layout.open(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises((FileNotFoundError, ValueError), match="empty") as caught:
        layout.open(tmp_path / "empty")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_broken_file_is_named_and_the_others_are_read(layout, tree, damage):
    clips = layout.open(tree)
    whole = clips[1]
    broken = layout.a_file(tree)
    content = broken.read_bytes()
    if damage == "missing":
        broken.unlink()
    else:
        broken.write_bytes(content[: len(content) // 2] if damage == "cut" else b"nonsense" * 20)
    with pytest.raises((OSError, ValueError), match=f"{broken.name}|{broken.parent.name}") as caught:
        clips[0]
    assert "\n" not in str(caught.value)
    assert same(clips[1], whole)
