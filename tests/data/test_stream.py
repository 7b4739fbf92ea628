"""The stream as training reads it: files, rendered clips and pairs, on any number of ranks and workers."""

import multiprocessing
import os
import shutil
import signal
import time
from itertools import islice
from types import SimpleNamespace

import cv2
import layouts.flyingthings
import layouts.k_epic
import layouts.kubric
import layouts.panning_movi_e
import layouts.pointodyssey
import pair_layouts.megadepth
import pair_layouts.scannet
import pytest
import torch
from hydra.utils import instantiate
from layouts.tracks_folder import LAYOUT
from layouts.truth import rendered
from small_training import FROM_FOLDERS
from torch.utils.data import DataLoader, Dataset
from walls import Walls

import retracker.data.workers as workers
from retracker.configuration import compose_config
from retracker.data.augment import Augment, Flip, Reverse
from retracker.data.crop import Resize
from retracker.data.datamodule import DataModule, collate
from retracker.data.datasets.synthetic import Synthetic
from retracker.data.excerpts import Excerpts, PairExcerpts
from retracker.data.mixture import Positions
from retracker.data.recordings import Unusable
from retracker.data.sources import Pairing, Window
from retracker.data.workers import settle
from retracker.media.image import write_image
from retracker.train import main
from retracker.types import TensorStruct

BLOCK = 4
WINDOW = Window(num_frames=3, strides=[1, 2], scene_balance=0)
PAIRING = Pairing(num_points=6, negative_share=0.3, dense=False, scene_balance=0)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("stream")
    LAYOUT.write(root, [rendered(seed, num_frames=6, height=32, width=48) for seed in (11, 12)])
    return root


@pytest.fixture
def data(tree):
    """Real files, rendered clips and pairs, two clips to a batch."""
    return data_module(tree, num_workers=0)


def data_module(tree, num_workers):
    return DataModule(
        train={
            "folder": LAYOUT.open(tree),
            "synthetic": Synthetic(100, "easy", 3, 5, 32, 0),
            "pairs": Walls("aab"),
        },
        weights={"folder": 2.0, "synthetic": 0.5},  # rendering takes longest
        val=Synthetic(1, "easy", 2, 3, 32, 0),
        window=WINDOW,
        pairing=PAIRING,
        block=BLOCK,
        distinct=None,
        transform=Augment([Flip(0.5, 0.5), Reverse(0.5), Resize([32, 32])]),
        batch_size=2,
        num_workers=num_workers,
        seed=3,
    )


def batches(data, count, step=0, rank=0, world_size=1):
    """The first batches of a rank from a step on."""
    data.trainer = SimpleNamespace(
        global_step=step, global_rank=rank, world_size=world_size, accumulate_grad_batches=1
    )
    return list(islice(data.train_dataloader(), count))


def same(one: TensorStruct, other: TensorStruct) -> bool:
    equal = [one.name == other.name]
    one.map(lambda a, b: equal.append(torch.equal(a, b)) or a, other)
    return all(equal)


@pytest.fixture(scope="module")
def alone(tree):
    """The stream itself, position by position."""
    stream = data_module(tree, num_workers=0).stream
    return [stream[n] for n in range(24)]


def test_real_files_rendered_clips_and_pairs_are_mixed(alone):
    kinds = {sample.name.split("/")[0] for sample in alone}
    assert {"tracks_folder", "walls"} < kinds and len(kinds) == 3
    lengths = [{len(sample.video) for sample in alone[n : n + BLOCK]} for n in range(0, 24, BLOCK)]
    assert {frozenset(block) for block in lengths} == {frozenset({2}), frozenset({3})}


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (1, 2), (2, 2)])
def test_ranks_and_workers_read_the_same_stream(tree, alone, world_size, num_workers):
    together = 2 * world_size
    for rank in range(world_size):
        read = batches(data_module(tree, num_workers), 24 // together, rank=rank, world_size=world_size)
        for step, batch in enumerate(read):
            first = step * together + rank
            assert same(batch, collate([alone[first], alone[first + world_size]]))


def test_after_a_restart_the_stream_goes_on_where_it_was(tree, alone):
    (batch,) = batches(data_module(tree, 2), 1, step=5)
    assert same(batch, collate(alone[10:12]))
    (batch,) = batches(data_module(tree, 0), 1, step=3, rank=1, world_size=2)  # on other hardware, too
    assert same(batch, collate([alone[13], alone[15]]))


def test_workers_that_are_spawned_read_the_same_stream(data, alone):
    loader = DataLoader(
        data.stream,
        sampler=Positions(0, 1),
        batch_size=2,
        num_workers=1,
        collate_fn=collate,
        worker_init_fn=settle,
        multiprocessing_context="spawn",
    )
    for step, batch in enumerate(islice(loader, 3)):
        assert same(batch, collate(alone[2 * step : 2 * step + 2]))
    assert sum(data.stream.faults.drawn) >= 6  # counted there, known here


class Threads(Dataset):
    """How many threads a worker may use, as torch and OpenCV say."""

    def __getitem__(self, index):
        return torch.get_num_threads(), cv2.getNumThreads()


def test_a_worker_uses_one_thread():
    (threads,) = DataLoader(Threads(), sampler=[0], batch_size=None, num_workers=1, worker_init_fn=settle)
    assert threads == [1, 1]


def work(ready):
    settle(0)
    ready.set()
    time.sleep(60)


def test_a_worker_survives_a_warning_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(workers, "LAST", 2)
    fork = multiprocessing.get_context("fork")
    ready = fork.Event()
    worker = fork.Process(target=work, args=(ready,), daemon=True)
    worker.start()
    ready.wait(20)
    os.kill(worker.pid, signal.SIGUSR1)
    worker.terminate()
    worker.join(1)
    assert worker.is_alive()
    worker.join(20)
    assert worker.exitcode == -signal.SIGALRM


def test_excerpts_are_the_same_whenever_they_are_read(tree):
    clips = Excerpts(LAYOUT.open(tree), num_clips=2, num_frames=3, stride=2, num_points=4, size=[40, 40])
    assert len(clips) == 2 and same(clips[1], clips[1])
    sample, whole = clips[0], LAYOUT.open(tree).read(0, [0, 2, 4])
    assert sample.video.shape == (3, 3, 40, 40) and sample.tracks.shape == (3, 4, 2)
    places = whole.tracks * torch.tensor([40 / 48, 40 / 32])
    distance = (places[:, :, None] - sample.tracks[:, None]).norm(dim=-1).amax(0)  # all points, chosen points
    assert (distance.amin(0) < 1e-4).all()
    assert sample.visible[sample.queries.frame, torch.arange(4)].all()
    with pytest.raises(IndexError):
        clips[2]


def test_excerpts_are_spread_over_the_data_set_and_may_be_fewer(tree):
    folder = LAYOUT.open(tree)
    names = [clip.name for clip in Excerpts(folder, 5, 20, 1, 4, [32, 32])]
    assert names == ["tracks_folder/clip0", "tracks_folder/clip1"]
    assert len(Excerpts(folder, 1, 20, 1, 4, [32, 32])[0].video) == 6  # all there are
    assert [clip.name for clip in PairExcerpts(Walls("abcdef"), 3, 4, dense=False)] == [
        "walls/0-0",
        "walls/2-2",
        "walls/4-4",
    ]


class Dark(Walls):
    """Pairs of which the first ones show nothing."""

    def __getitem__(self, index):
        if index < 2:
            raise Unusable(f"pair {index} is dark")
        return super().__getitem__(index)


def test_an_excerpt_that_shows_nothing_gives_way_to_the_next():
    assert PairExcerpts(Dark("aaa"), 1, 4, dense=False)[0].name == "walls/2-2"
    with pytest.raises(Unusable, match="nothing to learn from in 2 .* pair 1 is dark"):
        PairExcerpts(Dark("aa"), 1, 4, dense=False)[0]


VALIDATED = (
    *FROM_FOLDERS,
    "total_steps=2",
    "dataset@data.val=tracks_folder_val",
    "data.val.num_clips=1",
    "data.val.size=[64,64]",
)


def test_your_own_videos_can_be_trained_and_validated_on(tree, tmp_path, capsys):
    for name in ("tracks_folder", "tracks_folder_val"):
        (tmp_path / name).symlink_to(tree, target_is_directory=True)
    assert main([*VALIDATED, f"data_root={tmp_path}", f"paths.output_dir={tmp_path / 'out'}"]) == 0
    assert "trained 2 steps" in capsys.readouterr().out


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_validation_clip_that_cannot_be_read_ends_a_run_in_one_line_and_its_workers(
    tree, tmp_path, capsys, num_workers
):
    (tmp_path / "tracks_folder").symlink_to(tree, target_is_directory=True)
    shutil.copytree(tree, tmp_path / "tracks_folder_val")
    broken = tmp_path / "tracks_folder_val" / "clip0.npz"
    broken.write_bytes(broken.read_bytes()[:100])
    told = [f"data_root={tmp_path}", f"paths.output_dir={tmp_path / 'out'}"]
    assert main([*VALIDATED, *told, f"data.num_workers={num_workers}"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert f"data.val: clip 0 cannot be read: {broken}" in line and "Traceback" not in line
    assert multiprocessing.active_children() == []  # they heed no SIGTERM: the process would never end


TREES = {
    "kubric": layouts.kubric.COTRACKER,
    "panning_movi_e": layouts.panning_movi_e.LAYOUT,
    "pointodyssey": layouts.pointodyssey.LAYOUT,
    "k_epic": layouts.k_epic.LAYOUT,
    "flyingthings": layouts.flyingthings.PLUS,
}
PAIR_TREES = {"megadepth": pair_layouts.megadepth.LAYOUT, "scannet": pair_layouts.scannet.LAYOUT}


def test_the_joint_mixture_is_read_from_the_layouts_of_its_data_sets(tmp_path):
    truths, scenes = [rendered(seed) for seed in (11, 12)], [pair_layouts.still(seed) for seed in (11, 12)]
    for folder, layout in TREES.items():
        layout.write(tmp_path / folder, truths)
    for folder, layout in PAIR_TREES.items():
        layout.write(tmp_path / folder, scenes)
    for number, truth in enumerate(truths):
        write_image(tmp_path / "warped_images" / f"{number}.png", truth.video[0])
    (tmp_path / "pointodyssey" / "val").symlink_to(tmp_path / "pointodyssey" / "train")
    small = ["data.window.num_frames=6", "data.transform.transforms.crop.size=[64,64]", "data.block=6"]
    cfg = compose_config("train", ["data=joint_mix", f"data_root={tmp_path}", *small])
    data = instantiate(cfg.data, _convert_="all")
    assert [source.num_frames for source in data.stream.sources] == [6] * 6 + [2] * 3
    samples = [data.stream[n] for n in range(24)]
    for first in range(0, 24, 6):
        batch = collate(samples[first : first + 6])
        assert batch.video.shape[2:] == (3, 64, 64) and batch.located.any()
    assert len({sample.name.split("/")[0] for sample in samples}) > 6
    assert data.val[0].video.shape[1:] == (3, 256, 256)


def test_a_data_set_that_is_not_there_is_one_line_that_says_how_to_find_it(tmp_path, capsys):
    assert main(["data=kubric", f"data_root={tmp_path}", f"paths.output_dir={tmp_path / 'out'}"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(tmp_path / "kubric") in line and "data_root=" in line


@pytest.mark.gpu
def test_batches_arrive_in_pinned_memory(tree):
    pinned = []
    (batch,) = batches(data_module(tree, 1), 1)
    batch.map(lambda value: pinned.append(value.is_pinned()) or value)
    assert len(pinned) == 10 and all(pinned)
