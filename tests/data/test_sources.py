import pickle
import time
import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch
from walls import Walls

from retracker.data.datasets.synthetic import Synthetic
from retracker.data.faults import CorruptSample
from retracker.data.recordings import Recordings, Unusable, labelled_clip
from retracker.data.sources import (
    PairClips,
    Pairing,
    Plain,
    Scenes,
    Window,
    Windows,
    as_source,
    draw_frames,
    to_and_fro,
)

WINDOW = Window(num_frames=4, strides=[1, 2], scene_balance=0)
PAIRING = Pairing(num_points=8, negative_share=0.5, dense=False, scene_balance=0)


class Counted(Recordings):
    """Recordings of which frame t shows the number t, in a few scenes."""

    def __init__(self, lengths, scenes):
        self.lengths, self.scenes = lengths, scenes

    def __len__(self):
        return len(self.lengths)

    def num_frames(self, index):
        return self.lengths[index]

    def scene(self, index):
        return self.scenes[index]

    def read(self, index, frames):
        if self.scenes[index] == "broken":
            raise OSError(f"recording{index}.npz: is cut off")
        if self.scenes[index] == "dark":
            raise Unusable("nothing is seen")
        video = torch.tensor(list(frames), dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
        visible = torch.ones(len(frames), 3, dtype=torch.bool)
        return labelled_clip(video, torch.full((len(frames), 3, 2), 2.0), visible, name=f"counted/{index}")


def shown(clip):
    """What frames of the recording a clip shows."""
    return clip.video[:, 0, 0, 0].tolist()


def test_a_window_is_a_run_of_frames_at_any_stride_that_fits():
    source = Windows(Counted([6], "a"), Window(num_frames=3, strides=[1, 2, 9], scene_balance=0))
    drawn = Counter(tuple(shown(source.draw(np.random.default_rng(n)))) for n in range(600))
    expected = {(t, t + 1, t + 2): 1 / 8 for t in range(4)} | {(t, t + 2, t + 4): 1 / 4 for t in range(2)}
    assert drawn.keys() == expected.keys()
    assert all(abs(drawn[frames] / 600 - share) < 0.07 for frames, share in expected.items())


def test_if_no_stride_fits_frames_follow_each_other():
    rng = np.random.default_rng(0)
    window = Window(num_frames=4, strides=[3], scene_balance=0)
    assert {tuple(draw_frames(5, window, rng)) for _ in range(40)} == {(0, 1, 2, 3), (1, 2, 3, 4)}


def test_a_short_recording_is_played_to_and_fro():
    clip = Windows(Counted([3], "a"), Window(num_frames=8, strides=[1, 2], scene_balance=0)).draw(
        np.random.default_rng(0)
    )
    assert shown(clip) == [0, 1, 2, 1, 0, 1, 2, 1]
    assert to_and_fro(np.arange(4), 1).tolist() == [0, 0, 0, 0]
    assert to_and_fro(np.arange(4), 2).tolist() == [0, 1, 0, 1]
    with pytest.raises(ValueError, match="0 frames"):
        draw_frames(0, WINDOW, np.random.default_rng(0))


def test_draws_depend_on_the_generator_alone_also_in_another_process():
    source = Windows(Counted([30, 40, 50], "aab"), WINDOW)
    other = pickle.loads(pickle.dumps(source))
    one = [shown(source.draw(np.random.default_rng(n))) for n in range(20)]
    assert one == [shown(other.draw(np.random.default_rng(n))) for n in range(19, -1, -1)][::-1]
    assert len({tuple(frames) for frames in one}) > 10


@pytest.mark.parametrize(("balance", "share"), [(0, 1 / 2), (1, 3 / 4), (0.25, 3**0.25 / (3**0.25 + 1))])
def test_scenes_are_balanced(balance, share):
    scenes = Scenes("abaa", balance)
    rng = np.random.default_rng(0)
    drawn = Counter(scenes.draw(rng) for _ in range(6000))
    assert abs(drawn[1] / 6000 - (1 - share)) < 0.02  # three standard deviations
    assert all(abs(drawn[item] / 6000 - share / 3) < 0.02 for item in (0, 2, 3))


def test_two_items_are_of_different_scenes_and_each_scene_is_balanced():
    labels = "abbcccc"
    scenes = Scenes(labels, 0)
    rng = np.random.default_rng(0)
    drawn = [scenes.draw_two(rng) for _ in range(6000)]
    assert all(labels[i] != labels[j] for i, j in drawn)
    couples = Counter(labels[i] + labels[j] for i, j in drawn)
    assert all(abs(couples[couple] / 6000 - 1 / 6) < 0.02 for couple in ("ab", "ac", "ba", "bc", "ca", "cb"))


def test_the_last_and_first_weights_stay_within_the_scenes():
    class Extreme(np.random.Generator):
        def __init__(self, value):
            super().__init__(np.random.PCG64(0))
            self.value = value

        def random(self):
            return self.value

        def integers(self, low, high):  # noqa: ARG002  numpy's signature
            return high - 1

    scenes = Scenes("aab", 1)
    for value in (0.0, np.nextafter(1.0, 0.0)):
        assert scenes.draw(Extreme(value)) in (1, 2)
        assert sorted(scenes.draw_two(Extreme(value))) == [1, 2]


def test_many_pairs_cost_little_memory_and_are_drawn_quickly():
    tracemalloc.start()
    scenes = Scenes((f"scene{i % 1000}" for i in range(200_000)), 0.25)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1e6 and len(pickle.dumps(scenes)) < 1e6  # 4 bytes each, and the scenes
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(1000):
        scenes.draw_two(rng)
    assert time.perf_counter() - start < 1


def test_pairs_become_clips_of_two_frames_some_of_them_without_a_match():
    source = PairClips(Walls("aab"), PAIRING)
    clips = [source.draw(np.random.default_rng(n)) for n in range(200)]
    assert all(clip.video.shape == (2, 3, 16, 16) and clip.tracks.shape == (2, 8, 2) for clip in clips)
    unmatched = [clip for clip in clips if clip.video[0, 0, 0, 0] != clip.video[1, 0, 0, 0]]
    assert abs(len(unmatched) / 200 - 0.5) < 0.11
    for clip in clips:
        negative = any(clip is other for other in unmatched)
        assert clip.labelled.all() and clip.visible[1].any() != negative
    assert source.num_frames == 2


def test_dense_pairs_carry_the_displacement_of_every_pixel():
    source = PairClips(Walls("aa"), Pairing(num_points=3, negative_share=0, dense=True, scene_balance=0))
    flow = source.draw(np.random.default_rng(0)).flow
    assert flow.valid[1, 2:-2, 2:-2].all() and flow.displacement.abs().max() < 1e-5


def test_pairs_of_one_scene_cannot_be_told_apart():
    with pytest.raises(ValueError, match="one scene.*negative_share|negative_share.*one scene"):
        PairClips(Walls("aa"), PAIRING)


@pytest.mark.parametrize("scene", ["broken", "dark"])
def test_what_cannot_be_read_is_named_and_what_shows_nothing_is_not_broken(scene):
    source = Windows(Counted([9], [scene]), WINDOW)
    with pytest.raises(CorruptSample if scene == "broken" else Unusable) as caught:
        source.draw(np.random.default_rng(0))
    if scene == "broken":
        assert str(caught.value) == "[0]: recording0.npz: is cut off"


def test_every_kind_of_data_set_finds_its_source():
    clips = Synthetic(5, "easy", 4, 4, 32, 0)
    assert isinstance(as_source(clips, WINDOW, PAIRING), Plain)
    assert isinstance(as_source(Counted([9], "a"), WINDOW, PAIRING), Windows)
    assert isinstance(as_source(Walls("ab"), WINDOW, PAIRING), PairClips)
    source = Plain(clips)
    assert as_source(source, WINDOW, PAIRING) is source and source.num_frames == 4


@pytest.mark.parametrize("settings", [{"num_frames": 0}, {"strides": []}, {"strides": [0]}])
def test_a_window_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ValueError, match="window"):
        Window(**{"num_frames": 4, "strides": [1], "scene_balance": 0} | settings)


@pytest.mark.parametrize("settings", [{"num_points": 0}, {"negative_share": 1.5}])
def test_a_pairing_that_makes_no_sense_is_refused(settings):
    with pytest.raises(ValueError, match="pairing"):
        Pairing(**{"num_points": 4, "negative_share": 0, "dense": False, "scene_balance": 0} | settings)
