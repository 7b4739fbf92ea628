"""What is logged is of all ranks and of all batches of a step, and time is spent in one phase at a time."""

import json
import math

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import SimpleProfiler
from test_training_run import TWO, disturbed_run, events, on_two_processes, run

from retracker.training.meters import children, resident_mb
from retracker.training.step_means import StepMeans
from retracker.training.timeline import FetchListener, Timeline

NAMES = (
    "train/loss",
    "train/position",
    "train/PCK@3",
    "train/EPE",
    "norm/gradient",
    "lr",
    "val/AJ",
    "val/loss",
)
STEPS = ("total_steps=2", "data.val.length=2", "trainer.limit_val_batches=1.0")


def test_a_steps_mean_is_over_clips_not_over_batches():
    means = StepMeans()
    means.add_means({"loss": torch.tensor(1.0)}, num_clips=1)
    means.add_means({"loss": torch.tensor(4.0)}, num_clips=2)
    means.add_clips({"PCK@1": torch.tensor([0.5, math.nan])})
    means.add_clips({"PCK@1": torch.tensor([1.0]), "EPE": torch.tensor([math.nan])})
    assert means.take(world_size=1) == {"loss": pytest.approx(3.0), "PCK@1": pytest.approx(0.75)}
    assert means.take(world_size=1) == {}


def means_of_two_ranks(rank, directory):
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    means = StepMeans()
    means.add_means({"loss": torch.tensor(float(rank))}, num_clips=1 + rank)
    means.add_clips({"EPE": torch.tensor([2.0])} if rank else {})
    (directory / f"{rank}.json").write_text(json.dumps(means.take(world_size=2)))
    torch.distributed.destroy_process_group()


def test_ranks_may_have_seen_different_things_and_all_know_the_same(tmp_path):
    on_two_processes(means_of_two_ranks, tmp_path)
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert told[0] == told[1] == {"loss": pytest.approx(2 / 3), "EPE": 2.0}


def logged(directory):
    """Every value by name and step."""
    log = events(directory)
    return {name: [event.value for event in log.Scalars(name)] for name in log.Tags()["scalars"]}


def train_on_two(_, directory):
    run(directory, *TWO, *STEPS)


def test_two_processes_log_what_one_logs_of_the_same_clips(tmp_path):
    run(tmp_path / "one", *STEPS, "data.batch_size=2")
    run(tmp_path / "accumulated", *STEPS, "trainer.accumulate_grad_batches=2", "trainer.val_check_interval=4")
    on_two_processes(train_on_two, tmp_path / "two")
    one, accumulated, two = (logged(tmp_path / name) for name in ("one", "accumulated", "two"))
    for name in NAMES:
        assert len(one[name]) == len(two[name]) == len(accumulated[name]), name
        # Sums of other orders and other matrix sizes: the last digits of float32, grown over an update.
        assert two[name] == pytest.approx(one[name], rel=2e-4, abs=1e-5), name
        assert accumulated[name] == pytest.approx(one[name], rel=2e-4, abs=1e-5), name
    record = json.loads((tmp_path / "two" / "run.json").read_text())
    assert record["starts"][0]["world_size"] == 2 and record["total_clips"] == 4
    for found in (one, two, accumulated):
        frames = torch.tensor(found["speed/frames_per_second"]) / torch.tensor(
            found["speed/clips_per_second"]
        )
        assert frames.tolist() == pytest.approx([4.0, 4.0])
        assert all(0 <= share <= 1 for share in found["speed/data_wait"])
    assert one["time/data"][0] > 0  # num_workers=0: clips are made while the step waits


def test_the_parts_of_a_step_are_no_longer_than_the_step(tmp_path):
    run(tmp_path, "trainer.limit_val_batches=0", "callbacks.checkpoints.every_n_steps=1", "total_steps=3")
    found = logged(tmp_path)
    for step, data, compute, update in zip(
        *(found[f"time/{name}"] for name in ("step", "data", "forward_backward", "optimiser")), strict=True
    ):
        assert 0 < compute < step and data + compute + update <= step * (1 + 1e-5)
    assert found["time/saving"][-1] > 0 and found["time/validation"] == [0.0, 0.0, 0.0]


def test_every_moment_belongs_to_one_phase():
    timeline = Timeline(torch.device("cpu"), "other")
    for phase in ("data", "other", "data", "saving"):
        timeline.enter(phase)
    first = timeline.take()
    assert set(first) == {"other", "data", "saving"} and all(seconds >= 0 for seconds in first.values())
    assert set(timeline.take()) == {"saving"}  # it goes on


def test_a_timeline_that_nobody_asks_does_not_grow():
    timeline = Timeline(torch.device("cpu"), "other")
    for _ in range(10_000):
        timeline.enter("data")
    assert len(timeline._marks) < 5000 and set(timeline.take()) == {"other", "data"}


@pytest.mark.gpu
def test_on_a_gpu_the_work_that_is_queued_counts_for_the_phase_that_queued_it():
    timeline = Timeline(torch.device("cuda"), "forward_backward")
    large = torch.rand(4096, 4096, device="cuda")
    for _ in range(20):
        large = (large @ large).clamp(max=1)
    timeline.enter("other")
    taken = timeline.take()
    assert taken["forward_backward"] > taken["other"] >= 0


def test_another_profiler_still_hears_everything(tmp_path):
    heard, inner = [], SimpleProfiler(dirpath=tmp_path, filename="inner")
    listener = FetchListener(inner, lambda: heard.append("begins"), lambda: heard.append("ends"))
    with listener.profile("[_TrainingEpochLoop].train_dataloader_next"):
        heard.append("waits")
    with listener.profile("run_training_batch"):
        pass
    assert heard == ["begins", "waits", "ends"]
    assert set(inner.recorded_durations) == {
        "[_TrainingEpochLoop].train_dataloader_next",
        "run_training_batch",
    }


def test_a_process_knows_its_memory_and_one_that_is_gone_has_none():
    assert resident_mb("self") > 50 and resident_mb("no such process") == 0
    assert all(pid.isdigit() for pid in children())


def test_accumulating_steps_log_once_each(tmp_path, monkeypatch):
    disturbed_run(tmp_path, monkeypatch, NoCallback(), "trainer.accumulate_grad_batches=2", "total_steps=2")
    assert [len(logged(tmp_path)[name]) for name in ("train/loss", "speed/clips_per_second")] == [2, 2]


class NoCallback(pl.Callback):
    """Disturbs nothing."""
