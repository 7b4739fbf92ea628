from dataclasses import replace
from functools import cache
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from retracker.data.augment import Augment, Flip, Photometric, Reverse, mirror, repaint, reverse, transpose
from retracker.data.datamodule import DataModule, collate, pad_points
from retracker.data.datasets.synthetic import Synthetic
from retracker.data.mixture import Mixture, Positions, TooManyCorruptSamples
from retracker.geometry.coords import sample_image
from retracker.losses.dense import follow
from retracker.types import TensorStruct

NOTHING = Augment([])
AUGMENT = Augment([Flip(0.5, 0.5), Reverse(0.5), Photometric(0.2, 0.2, 0.3, 0.1)])


@cache
def rendered(index, num_points, dense_flow, seed):
    return Synthetic(50, "easy", 4, num_points, 32, seed, dense_flow=dense_flow)[index]


class Repeated(Dataset):
    """Fifty rendered clips of which two differ: rendering each would take longer than all tests."""

    def __init__(self, *kind):
        self.kind = kind

    def __len__(self):
        return 50

    def __getitem__(self, index):
        return replace(rendered(index % 2, *self.kind), name=f"clip/{self.kind[-1]}-{index}")


def clips(num_points=4, dense_flow=False, seed=0):
    return Repeated(num_points, dense_flow, seed)


class Failing(Dataset):
    """A data set on a bad disk: the given clips cannot be read."""

    def __init__(self, bad):
        self.clips, self.bad = clips(), set(bad)

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError(f"clip {index} is cut off")
        return self.clips[index]


def same(one: TensorStruct, other: TensorStruct) -> bool:
    equal = []
    one.map(lambda a, b: equal.append(torch.equal(a, b)) or a, other)
    return all(equal)


def stream(seed=0, transform=AUGMENT):
    sources = {"one": clips(), "two": clips(seed=1)}
    return Mixture(sources, {"one": 3.0}, transform, seed)


def test_the_nth_sample_depends_on_the_seed_and_n_alone():
    one, other = stream(), stream()
    forwards = [one[n] for n in (0, 1, 2)]
    backwards = [other[n] for n in (2, 1, 0)][::-1]
    assert all(same(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert not same(stream(seed=1)[0], forwards[0])


def test_neither_ranks_nor_workers_change_the_stream():
    alone = stream()
    for rank in range(2):
        loader = DataLoader(
            stream(), sampler=Positions(rank, 2), batch_size=2, num_workers=rank, collate_fn=collate
        )
        for n, batch in zip(range(rank, 8, 4), islice(loader, 2), strict=True):
            expected = collate([alone[n], alone[n + 2]])
            assert batch.name == expected.name and same(batch, expected)


def test_noise_is_drawn_with_the_sample_and_not_moved_by_augmentation():
    plain, augmented = stream(transform=NOTHING)[3], stream()[3]
    assert plain.noise.jitter.shape == (4, 4, 2)
    assert same(plain.noise, augmented.noise)
    assert not same(plain.noise, stream()[4].noise)


def test_sources_come_in_the_given_proportions():
    mixture = stream()
    rng = np.random.default_rng(0)
    names = [mixture._choose(rng)[0] for _ in range(2000)]
    assert abs(names.count("one") / 2000 - 0.75) < 0.03  # three standard deviations


def test_a_weight_for_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="tow"):
        Mixture({"two": clips()}, {"tow": 1.0}, NOTHING, seed=0)


def test_a_corrupt_sample_is_named_and_replaced_the_same_way_every_time():
    whole = Mixture({"disk": clips()}, {}, NOTHING, seed=0)
    hit = whole._choose(np.random.default_rng((0, 5)))[1]
    with pytest.warns(UserWarning, match=rf"disk\[{hit}\].*cut off"):
        one = Mixture({"disk": Failing([hit])}, {}, NOTHING, seed=0)[5]
    with pytest.warns(UserWarning, match="1 so far"):
        other = Mixture({"disk": Failing([hit])}, {}, NOTHING, seed=0)[5]
    assert same(one, other) and one.name != whole[5].name


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_training_stops_when_more_than_one_percent_is_corrupt():
    mixture = Mixture({"disk": Failing(range(50))}, {}, NOTHING, seed=0)
    with pytest.raises(TooManyCorruptSamples, match="2 of 2 samples"):
        mixture[0]


def test_corrupt_samples_are_counted_over_all_workers():
    mixture = Mixture({"disk": clips()}, {}, NOTHING, seed=0)
    list(islice(DataLoader(mixture, sampler=range(4), num_workers=2, collate_fn=collate), 4))
    assert list(mixture.counts) == [4, 0]


def visible_colours(sample):
    video = sample.video.float()
    return torch.stack([sample_image(video[t][None], sample.tracks[t][None])[0] for t in range(len(video))])


@pytest.mark.parametrize("change", [mirror, transpose])
def test_frames_and_tracks_move_together(change):
    sample = clips()[0]
    changed = change(sample)
    torch.testing.assert_close(visible_colours(changed), visible_colours(sample), atol=1e-2, rtol=0)
    assert torch.equal(change(changed).video, sample.video)
    torch.testing.assert_close(change(changed).tracks, sample.tracks)
    n = torch.arange(4)
    at_birth = changed.tracks[changed.queries.frame, n]
    torch.testing.assert_close(at_birth, changed.queries.xy)


@pytest.mark.parametrize("change", [mirror, transpose])
def test_dense_flow_moves_with_the_frames(change):
    sample = clips(dense_flow=True)[0]
    changed = change(sample)
    # The clip's points of frame 0, carried by flow, land in the same places of the changed clip.
    for clip in (sample, changed):
        flow = clip.flow.map(lambda x: x[None])
        where, known = follow(flow, clip.tracks[None, 0], 2)
        near = known & clip.visible[None, 0]
        assert (where - clip.tracks[None, 2]).norm(dim=-1)[near].max() < 0.5  # within its pixel


def test_a_clip_played_backwards_asks_for_each_point_where_it_is_first_seen():
    sample = clips()[0]
    changed = reverse(sample)
    assert torch.equal(changed.video[0], sample.video[-1])
    n = torch.arange(4)
    torch.testing.assert_close(changed.tracks[changed.queries.frame, n], changed.queries.xy)
    assert changed.visible[changed.queries.frame, n].all()
    before = torch.arange(4)[:, None] < changed.queries.frame
    assert not (changed.visible & before).any()  # else a point of the old frame 0 would have nothing to track
    assert torch.equal(reverse(changed).tracks, sample.tracks)


def test_repainting_by_one_changes_nothing_and_by_zero_saturation_leaves_grey():
    video = clips()[0].video
    assert torch.equal(repaint(video, 1.0, 1.0, 1.0), video)
    grey = repaint(video, 1.0, 1.0, 0.0)
    assert torch.equal(grey[:, 0], grey[:, 1]) and torch.equal(grey[:, 1], grey[:, 2])


def test_points_are_padded_by_ones_without_supervision():
    few, many = clips(num_points=3)[0], clips(num_points=5)[1]
    batch = collate([few, many])
    assert batch.tracks.shape == (2, 4, 5, 2)
    assert not batch.labelled[0, :, 3:].any() and not batch.located[0, :, 3:].any()
    assert torch.equal(batch.tracks[0, :, :3], few.tracks)
    assert same(pad_points(many, 5), many)


def test_a_clip_without_flow_gets_one_that_is_valid_nowhere_beside_a_clip_with_flow():
    dense, plain = clips(dense_flow=True)[0], clips()[1]
    batch = collate([plain, dense])
    assert torch.equal(batch.flow.displacement[1], dense.flow.displacement)
    assert torch.equal(batch.flow.valid[1], dense.flow.valid) and not batch.flow.valid[0].any()
    assert collate([plain, plain]).flow is None


def test_each_rank_validates_as_many_clips_and_those_read_twice_count_once():
    length = 3
    val = Synthetic(length, "easy", 2, 3, 32, 0)
    data = DataModule({"one": clips()}, {}, val, NOTHING, batch_size=1, num_workers=0, seed=0)
    dealt = []
    for rank in range(2):
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        dealt.append([(batch.name[0], bool(batch.labelled.any())) for batch in data.val_dataloader()])
    names = [val[i].name for i in range(length)]
    assert dealt == [[(names[0], True), (names[2], True)], [(names[1], True), (names[0], False)]]


def test_clips_of_different_sizes_are_refused():
    short = Synthetic(1, "easy", 2, 4, 32, 0)[0]
    with pytest.raises(ValueError, match="must agree in frames"):
        collate([clips()[0], short])
