"""What every data set of posed pairs must do, tested on a small tree in its own layout."""

import importlib
import pickle
import pkgutil
from dataclasses import replace

import pair_layouts
import pytest
import torch
from pair_layouts import FRAMES, still, true_flow

from retracker.data.pairs import Pairs
from retracker.data.supervision import supervised_clip

MODULES = [name for _, name, _ in pkgutil.iter_modules(pair_layouts.__path__)]
FOUND = {name: importlib.import_module(f"pair_layouts.{name}") for name in MODULES}
LAYOUTS = {name: module.LAYOUT for name, module in FOUND.items() if hasattr(module, "LAYOUT")}
SIZE = 96  # the long side of the truths
SEEDS = (13, 17)


@pytest.fixture(scope="module")
def truths():
    return [still(seed) for seed in SEEDS]


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS)
def layout(request):
    return request.param


@pytest.fixture
def tree(layout, truths, tmp_path):
    layout.write(tmp_path / "root", truths)
    return tmp_path / "root"


def same(one, other):
    equal = [one.name == other.name]
    one.map(lambda a, b: equal.append(torch.equal(a, b)) or a, other)
    return all(equal)


def test_a_pair_is_the_truth(layout, tree, truths):
    pairs = layout.open(tree, SIZE)
    assert isinstance(pairs, Pairs) and len(pairs) == len(truths)
    for index, truth in enumerate(truths):
        pair, (first, second) = pairs[index], FRAMES
        height, width = truth.video.shape[-2:]
        assert pair.size0.tolist() == pair.size1.tolist() == [height, width]
        assert pair.image0.shape == (3, SIZE, SIZE) and pair.depth1.shape == (SIZE, SIZE)
        for image, depth, t in ((pair.image0, pair.depth0, first), (pair.image1, pair.depth1, second)):
            difference = (image[:, :height, :width].float() - truth.video[t].float()).abs()
            assert difference.mean() < 2  # jpg
            known = depth[:height, :width] > 0
            assert known.all() and not depth[height:].any() and not image[:, height:].any()
            assert (depth[:height, :width] - truth.depth[t])[known].abs().max() <= layout.depth_error
        pose = truth.poses[second] @ torch.linalg.inv(truth.poses[first])
        torch.testing.assert_close(pair.pose_0to1, pose, atol=1e-5, rtol=0)
        torch.testing.assert_close(pair.intrinsics0, truth.intrinsics[first], atol=1e-9, rtol=0)
        torch.testing.assert_close(pair.intrinsics1, truth.intrinsics[second], atol=1e-9, rtol=0)


def test_the_pixels_of_a_pair_move_as_in_truth(layout, tree, truths):
    pairs = layout.open(tree, SIZE)
    for index, truth in enumerate(truths):
        flow = supervised_clip(pairs[index], torch.tensor([[20.0, 20.0]]), dense=True).flow
        expected = true_flow(truth)
        height, width = truth.video.shape[-2:]
        valid = flow.valid[1, :height, :width]
        assert valid.float().mean() > 0.5 and not (valid & ~expected.valid[0]).any()
        error = (flow.displacement[1, :height, :width] - expected.displacement[0]).norm(dim=-1)
        assert error[valid].max() < layout.flow_error


def test_names_and_scenes(layout, tree):
    pairs = layout.open(tree, SIZE)
    assert tuple(pairs.scene(index) for index in range(2)) == layout.scenes
    names = [pairs[index].name for index in range(2)]
    assert len(set(names)) == 2 and all(name.startswith(f"{layout.config}/") for name in names)
    with pytest.raises(IndexError):
        pairs[2]


def test_a_negative_shows_two_scenes(layout, tree):
    pairs = layout.open(tree, SIZE)
    negative = pairs.negative(0, 1)
    assert torch.equal(negative.image0, pairs[0].image0) and torch.equal(negative.image1, pairs[1].image1)
    assert torch.equal(negative.depth0, pairs[0].depth0) and not negative.depth1.any()
    assert same(replace(negative, name=""), replace(pairs.negative(0, 1), name=""))
    with pytest.raises(ValueError, match="both show"):
        pairs.negative(1, 1)


def test_views_are_resized_by_a_pure_ratio(layout, tree, truths):
    pair = layout.open(tree, 48)[0]
    assert pair.size0.tolist() == [32, 48] and pair.image0.shape == (3, 48, 48)
    half = torch.diag(torch.tensor([0.5, 0.5, 1.0], dtype=torch.float64))
    torch.testing.assert_close(pair.intrinsics0, half @ truths[0].intrinsics[FRAMES[0]])


def test_reading_is_repeatable_also_in_another_process(layout, tree):
    pairs = layout.open(tree, SIZE)
    assert same(pairs[1], pairs[1]) and same(pickle.loads(pickle.dumps(pairs))[1], pairs[1])


def test_a_wrong_root_is_told_in_one_sentence(layout, tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "empty"):
        with pytest.raises((FileNotFoundError, ValueError), match=name) as caught:
            layout.open(tmp_path / name, SIZE)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "missing"])
def test_a_broken_file_is_named_and_the_others_are_read(layout, tree, damage):
    pairs = layout.open(tree, SIZE)
    whole = pairs[1]
    broken = layout.a_file(tree)
    spoil(broken, damage)
    with pytest.raises((OSError, ValueError), match=broken.name) as caught:
        pairs[0]
    assert "\n" not in str(caught.value)
    assert same(pairs[1], whole)


@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_broken_index_is_named(layout, tree, damage):
    broken = layout.an_index(tree)
    spoil(broken, damage)
    with pytest.raises((OSError, ValueError), match=broken.name) as caught:
        layout.open(tree, SIZE)
    assert "\n" not in str(caught.value)


def spoil(path, damage):
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"nonsense" * 20)
