import multiprocessing
import os
import signal
import threading
from dataclasses import replace
from functools import cache
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from walls import Walls

from retracker.data.appearance import Colour
from retracker.data.augment import Augment, Flip, Reverse, mirror, reverse, transpose
from retracker.data.datamodule import DataModule, collate, pad_points
from retracker.data.datasets.synthetic import Synthetic
from retracker.data.faults import CorruptSample, Faults, TooManyCorruptSamples, too_many
from retracker.data.mixture import Mixture, NothingUsable, Positions
from retracker.data.recordings import Unusable
from retracker.data.sources import Pairing, Plain, Source, Window
from retracker.geometry.coords import sample_image
from retracker.losses.dense import follow
from retracker.types import TensorStruct

NOTHING = Augment([])
AUGMENT = Augment([Flip(0.5, 0.5), Reverse(0.5), Colour(0.2, 0.2, 0.3, 0, 0, 0.1, 0, 0)])


@cache
def rendered(index, num_points, dense_flow, seed):
    return Synthetic(50, "easy", 4, num_points, 32, seed, dense_flow=dense_flow)[index]


class Repeated(Dataset):
    """Fifty rendered clips of which two differ: rendering each would take longer than all tests."""

    num_frames = 4

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

    num_frames = 4

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


def mix(datasets, weights=None, transform=NOTHING, seed=0, block=1, distinct=None):
    sources = {name: d if isinstance(d, Source) else Plain(d) for name, d in datasets.items()}
    return Mixture(sources, weights or {}, transform, seed, block, distinct)


def stream(seed=0, transform=AUGMENT):
    return mix({"one": clips(), "two": clips(seed=1)}, {"one": 3.0}, transform, seed)


def drawn_from(mixture, count):
    """The name of the source of each of the first samples."""
    return [mixture[n].name.split("/")[0] for n in range(count)]


class Named(Source):
    """Clips of a given length that say where they come from, made of nothing."""

    def __init__(self, name, num_frames):
        self.num_frames = num_frames
        one = clips()[0]
        self.clip = replace(one, name=f"{name}/clip", **{k: getattr(one, k)[:num_frames] for k in FRAMES})

    def draw(self, rng):  # noqa: ARG002  a source's signature
        return self.clip


FRAMES = ("video", "tracks", "visible", "labelled", "located")


class Moody(Source):
    """A source of which only every ``n``-th draw shows something."""

    num_frames = 4

    def __init__(self, n):
        self.n = n

    def draw(self, rng):
        if rng.integers(self.n):
            raise Unusable("nothing in sight")
        return replace(clips()[0], name="moody/clip")


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


def test_the_stream_is_what_it_was_in_the_first_release():
    # Weights were trained on it, and runs are resumed: drawn by hand, as it is written down.
    rng = np.random.default_rng((7, 4))
    source = rng.choice(2, p=[0.75, 0.25])
    name = f"clip/{source}-{rng.integers(50)}"
    assert stream(seed=7)[4].name == name


def test_noise_is_drawn_with_the_sample_and_not_moved_by_augmentation():
    plain, augmented = stream(transform=NOTHING)[3], stream()[3]
    assert plain.noise.jitter.shape == (4, 4, 2)
    assert same(plain.noise, augmented.noise)
    assert not same(plain.noise, stream()[4].noise)


def test_sources_come_in_the_given_proportions():
    names = drawn_from(mix({"a": Named("a", 4), "b": Named("b", 4)}, {"a": 3.0}), 2000)
    assert abs(names.count("a") / 2000 - 0.75) < 0.03  # three standard deviations


def test_a_stream_of_a_few_distinct_samples_begins_again_after_them():
    endless = mix({"one": clips()}, transform=AUGMENT)
    few = mix({"one": clips()}, transform=AUGMENT, distinct=3)
    for position in range(7):
        assert same(few[position], endless[position % 3])
    with pytest.raises(ValueError, match="distinct .* at least 1, got 1 and 0"):
        mix({"one": clips()}, distinct=0)


def test_clips_of_different_lengths_come_in_blocks_and_in_the_given_proportions():
    kinds = {"long": Named("long", 4), "pair": Named("pair", 2), "match": Named("match", 2)}
    mixture = mix(kinds, {"long": 5.0, "pair": 4.0, "match": 1.0}, block=8)
    names = drawn_from(mixture, 1600)
    blocks = [names[n : n + 8] for n in range(0, 1600, 8)]
    assert all(set(block) <= {"long"} or set(block) <= {"pair", "match"} for block in blocks)
    assert abs(names.count("long") / 1600 - 0.5) < 0.02  # blocks are dealt evenly
    assert abs(names.count("match") / 1600 - 0.1) < 0.03
    assert names[:8] == drawn_from(mix(kinds, {"long": 5.0, "pair": 4.0, "match": 1.0}, block=8), 8)


def test_a_length_of_weight_0_has_no_blocks():
    mixture = mix({"long": Named("long", 4), "pair": Named("pair", 2)}, {"pair": 0.0}, block=2)
    assert mixture.kinds.lengths == [4] and set(drawn_from(mixture, 20)) == {"long"}


def test_a_weight_for_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="tow"):
        mix({"two": clips()}, {"tow": 1.0})


def test_a_source_that_shows_nothing_is_drawn_again_and_keeps_its_share():
    mixture = mix({"moody": Moody(4), "plain": Named("plain", 4)})
    names = drawn_from(mixture, 400)
    assert abs(names.count("moody") / 400 - 0.5) < 0.08
    assert mixture.faults.corrupt == [0, 0] and sum(mixture.faults.drawn) == 400
    assert same(mixture[3], mix({"moody": Moody(4), "plain": Named("plain", 4)})[3])


def test_a_transform_may_leave_nothing_to_learn_from():
    def picky(sample, rng):
        if rng.integers(3):
            raise Unusable("cropped away")
        return sample

    assert [mix({"a": Named("a", 4)}, transform=picky)[n].name for n in range(5)] == ["a/clip"] * 5


def test_a_source_that_never_shows_anything_ends_training_with_its_name():
    with pytest.raises(NothingUsable, match=r"^moody: .*100 draws.*nothing in sight"):
        mix({"moody": Moody(10**9)})[0]


def hit_by(position, seed=0):
    """Which clip of a single data set the stream draws first for a position."""
    rng = np.random.default_rng((seed, position))
    rng.random()  # which data set
    return int(rng.integers(50))


def test_a_corrupt_sample_is_named_and_replaced_the_same_way_every_time():
    hit = hit_by(5)
    with pytest.warns(UserWarning, match=rf"disk\[{hit}\].*cut off"):
        one = mix({"disk": Failing([hit])})[5]
    with pytest.warns(UserWarning, match="1 so far"):
        other = mix({"disk": Failing([hit])})[5]
    assert same(one, other) and one.name != mix({"disk": clips()})[5].name


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_training_stops_when_more_than_one_percent_is_corrupt():
    mixture = mix({"disk": Failing(range(50))})
    with pytest.raises(TooManyCorruptSamples, match="10 of 10 samples.*disk.*cut off"):
        mixture[0]
    mixture = mix({"disk": Failing([3])})  # 2 %
    with pytest.raises(TooManyCorruptSamples, match=r"of \d{3,} samples.*disk\[3\]"):
        drawn_from(mixture, 2000)


@pytest.mark.parametrize(
    ("drawn", "corrupt", "stops"),
    [(1, 1, False), (9, 9, False), (10, 5, False), (10, 6, True), (99, 50, True), (100, 3, False)]
    + [(100, 4, True), (1000, 16, False), (1000, 17, True), (100000, 1000, False), (100000, 1064, True)],
)
def test_more_than_one_percent_is_more_than_bad_luck(drawn, corrupt, stops):
    assert too_many(drawn, corrupt) == stops


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_bad_luck_with_the_first_samples_does_not_stop_training():
    mixture = mix({"disk": Failing([hit_by(0)])})
    mixture[0]
    assert mixture.faults.corrupt == [1]


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_a_broken_data_set_of_small_weight_does_not_hide():
    mixture = mix({"sound": Named("sound", 4), "broken": Failing(range(50))}, {"broken": 0.004})
    with pytest.raises(TooManyCorruptSamples, match="10 of 10 samples of broken"):
        drawn_from(mixture, 8000)


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_corrupt_samples_are_counted_and_listed_over_all_workers():
    hit = hit_by(2)
    mixture = mix({"disk": Failing([hit])})
    assert mixture.faults.report() == ""
    list(islice(DataLoader(mixture, sampler=[2, 3, 2, 4], num_workers=2, collate_fn=collate), 4))
    expected = mixture.faults.corrupt[0]
    assert expected >= 2 and mixture.faults.drawn == [4 + expected]
    assert f"{expected} of {4 + expected} of disk" in mixture.faults.report()
    assert f"disk[{hit}]: clip {hit} is cut off" in mixture.faults.report()


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_each_corrupt_sample_is_listed_once():
    faults = Faults(["disk"])
    for index in (3, 3, 4, 3, 5):
        faults.broken(0, CorruptSample(index, OSError(f"clip {index} is cut off")))
    listed = [f"disk[{n}]: clip {n} is cut off" for n in (3, 4, 5)]
    assert faults.report() == f"skipped as corrupt: 5 of 5 of disk; the first: {'; '.join(listed)}"


def hold(faults):
    faults.counts.get_lock().acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_the_report_does_not_wait_for_a_worker_that_was_killed_while_it_counted():
    faults = Faults(["disk"])
    worker = multiprocessing.get_context("fork").Process(target=hold, args=(faults,))
    worker.start()
    worker.join()
    reading = threading.Thread(target=faults.report, daemon=True)
    reading.start()
    reading.join(10)
    assert not reading.is_alive()


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


def data_module(train, val=None, **settings):
    standard = {
        "weights": {},
        "window": Window(num_frames=4, strides=[1], scene_balance=0),
        "pairing": Pairing(num_points=8, negative_share=0, dense=False, scene_balance=0),
        "block": 8,
        "distinct": None,
        "transform": NOTHING,
        "batch_size": 1,
        "num_workers": 0,
        "seed": 0,
    }
    return DataModule(train=train, val=val or clips(), **standard | settings)


def test_a_data_set_that_makes_no_sense_is_named():
    with pytest.raises(ValueError, match="^data.train.stage: pairing.negative_share .*one scene"):
        data_module(
            {"stage": Walls("aa")},
            pairing=Pairing(num_points=8, negative_share=0.5, dense=False, scene_balance=0),
        )


def test_pairs_cannot_be_validated_on_as_they_are():
    with pytest.raises(ValueError, match="^data.val: .*Walls.*PairExcerpts"):
        data_module({"one": clips()}, Walls("aa"))


def standing(step=0, rank=0, world_size=1, accumulate=1):
    """What the data module asks a trainer."""
    return SimpleNamespace(
        global_step=step, global_rank=rank, world_size=world_size, accumulate_grad_batches=accumulate
    )


def test_what_is_learned_by_heart_is_what_is_validated_on():
    data = data_module({"one": clips()}, transform=AUGMENT, distinct=2)
    data.trainer = standing(step=4)
    learned = next(iter(data.train_dataloader()))
    first, second = data.val_dataloader()
    assert same(learned, first) and not torch.equal(first.video, second.video)


def test_batches_of_one_length_need_blocks_of_whole_batches():
    mixed = {"long": Named("long", 4), "pair": Named("pair", 2)}
    data = data_module(mixed, batch_size=3)
    data.trainer = standing(world_size=2)
    with pytest.raises(ValueError, match="data.block must be a multiple of the 6 clips"):
        data.train_dataloader()
    data = data_module({"long": Named("long", 4)}, batch_size=3)
    data.trainer = standing(world_size=2)
    data.train_dataloader()


@pytest.mark.parametrize("distinct", [1, 7, 8, 12, 16])
def test_batches_of_one_length_begin_again_with_a_block(distinct):
    mixed = {"long": Named("long", 4), "pair": Named("pair", 2)}
    data = data_module(mixed, batch_size=8, distinct=distinct)
    data.trainer = standing()
    if distinct == 12:  # the second batch would be of positions 8 to 11 and 0 to 3
        with pytest.raises(ValueError, match="data.distinct must be at most data.block, 8, .* got 12"):
            data.train_dataloader()
    else:
        assert all(len(set(batch.name)) == 1 for batch in islice(data.train_dataloader(), 6))


@pytest.mark.filterwarnings("ignore:skipped corrupt sample")
def test_the_end_of_a_run_reports_what_was_skipped():
    data = data_module({"disk": Failing([hit_by(0)])})
    data.stream[0]
    with pytest.warns(UserWarning, match="1 of 2 of disk"):
        data.teardown("fit")


def test_each_rank_validates_as_many_clips_and_those_read_twice_count_once():
    length = 3
    val = Synthetic(length, "easy", 2, 3, 32, 0)
    data = data_module({"one": clips()}, val)
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
