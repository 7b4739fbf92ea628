# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Whole runs of the real configuration, as small as they get."""

import json
import multiprocessing
import os
import signal
import socket
from math import isnan

import pytest
import pytorch_lightning as pl
import torch
from small_training import CHECKED, CLIPS, QUICK
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import retracker.checkpoint as checkpoint
from retracker.configuration import compose_config
from retracker.train import build_trainer, checkpoint_to_resume, train
from retracker.training.guard import NonFiniteGuard, NonFiniteLoss
from retracker.training.net_module import norms_of_parts

SMALL = (
    "+experiment=tracking",
    *QUICK,
    *CLIPS,
    *CHECKED,
    "data.val.length=1",
    "total_steps=4",
    "trainer.devices=1",
)


PARTS = ("backbone", "coarse", "refiner")  # of the tiny net, those that learn
TWO = ("trainer.devices=2", "trainer.strategy=ddp")


def run(directory, *overrides):
    """The trainer of a small run whose outputs go to ``directory``."""
    return train(compose_config("train", [*SMALL, f"paths.output_dir={directory}", *overrides]))


def weights(trainer):
    module = trainer.lightning_module
    return module.net.state_dict() | {f"average.{k}": v for k, v in module.average.weights.items()}


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path, monkeypatch):
    """The machine goes down: what is resumed from was saved on the way. A worker changes nothing."""
    unbroken = weights(run(tmp_path / "unbroken"))
    often = ("data.num_workers=1", "callbacks.checkpoints.every_n_steps=3")
    with monkeypatch.context() as disturbed, pytest.raises(PowerCut):
        disturbed_run(tmp_path / "broken", disturbed, CutPower(3), *often)
    assert torch.load(tmp_path / "broken/checkpoints/last.ckpt", weights_only=True)["global_step"] == 3
    resumed = run(tmp_path / "broken", "resume=auto", *often)
    assert resumed.global_step == 4
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)


class PowerCut(Exception):
    """What no run is prepared for."""


class CutPower(pl.Callback):
    """End a run before a step, without a chance to save."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.step:
            raise PowerCut


def test_stopping_early_does_not_change_the_run(tmp_path):
    short = run(tmp_path / "short", "trainer.max_steps=2")
    long = run(tmp_path / "long")
    rates = [[event.value for event in events(tmp_path / name).Scalars("lr")] for name in ("short", "long")]
    assert rates[0] == rates[1][:2] and short.global_step < long.global_step


def test_what_is_written_now_and_then_is_of_the_step_it_is_written_at(tmp_path):
    quiet = ("trainer.limit_val_batches=0", "total_steps=2")
    for every in (1, 2):
        run(tmp_path / str(every), f"trainer.log_every_n_steps={every}", *quiet)
    for name in ("train/EPE", "train/loss", "norm/parameters"):
        always, sometimes = (
            {event.step: event.value for event in events(tmp_path / every).Scalars(name)} for every in "12"
        )
        assert sometimes == {1: always[1]}


def events(directory):
    [file] = (directory / "tensorboard").rglob("events.*")  # a run has a folder of its own there
    accumulator = EventAccumulator(str(file))
    accumulator.Reload()
    return accumulator


def test_a_run_leaves_checkpoints_curves_and_pictures(tmp_path):
    trainer = run(tmp_path)
    torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    average = trainer.lightning_module.average.weights
    last = dict(checkpoint.load(tmp_path / "checkpoints/last.ckpt").named_parameters())
    assert average and all(torch.equal(last[name], weight) for name, weight in average.items())
    assert [p.name for p in (tmp_path / "checkpoints").iterdir() if "unfinished" in p.name] == []
    tags = events(tmp_path).Tags()
    for name in (
        "train/loss",
        "train/PCK@1",
        "val/AJ",
        "val/OA",
        "val/delta_avg",
        "val/EPE",
        "val/PCK@3",
        "lr",
    ):
        assert name in tags["scalars"]
    for name in (
        "train/coarse",
        "speed/clips_per_second",
        "speed/memory_mb",
        "norm/gradient",
        "norm/parameters",
        *(f"norm_of/{part}/{of}" for part in PARTS for of in ("gradient", "parameters")),
    ):
        assert name in tags["scalars"]
    assert "tracks/0" in tags["images"] and "coarse/0/point0" in tags["images"]
    assert (tmp_path / "config.yaml").is_file()


def test_norms_are_told_of_each_part_that_learns():
    net = nn.Module()
    net.frozen, net.first, net.second = nn.Linear(2, 2), nn.Linear(2, 1), nn.Linear(1, 1)
    net.frozen.requires_grad_(requires_grad=False)
    net.empty = nn.ReLU()
    with torch.no_grad():
        net.first.weight.copy_(torch.tensor([[3.0, 0.0]]))
        net.first.bias.fill_(4.0)
        net.second.weight.fill_(-2.0)
        net.second.bias.fill_(0.0)
    net.first.weight.grad, net.first.bias.grad = torch.tensor([[0.0, 5.0]]), torch.tensor([12.0])
    norms = {name: value.item() for name, value in norms_of_parts(net).items()}
    assert norms == {
        "first/parameters": 5.0,
        "first/gradient": 13.0,
        "second/parameters": 2.0,
        "second/gradient": 0.0,  # nobody asked it for anything
    }


class SpoilLoss(pl.Callback):
    """Make the loss of some steps not a number."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module.loss.weights["position"] = float("nan") if batch_idx in self.steps else 1.0


def disturbed_run(tmp_path, monkeypatch, disturbance, *overrides):
    """A run in which one more callback is at work."""
    monkeypatch.setattr(
        "retracker.train.build_trainer",
        lambda cfg, callbacks, logger: build_trainer(cfg, [*callbacks, disturbance], logger),
    )
    return run(tmp_path, "trainer.limit_val_batches=0", *overrides)


def test_a_step_whose_loss_is_not_a_number_is_skipped_and_written_down(tmp_path, monkeypatch):
    trainer = disturbed_run(tmp_path, monkeypatch, SpoilLoss({1}))
    assert trainer.global_step == 4
    assert all(value.isfinite().all() for value in weights(trainer).values())
    dump = torch.load(tmp_path / "refused" / "step1_rank0.pt", weights_only=True)
    assert dump["names"][0].startswith("synthetic/") and "position" in dump["terms"]


def test_a_loss_that_stays_not_a_number_stops_the_run(tmp_path, monkeypatch):
    with pytest.raises(NonFiniteLoss, match="2 steps in a row.*synthetic/"):
        disturbed_run(tmp_path, monkeypatch, SpoilLoss({1, 2, 3}), "module.guard.patience=2")


def test_a_batch_without_a_finite_loss_spoils_the_step_it_shares_with_others(tmp_path, monkeypatch):
    with pytest.raises(NonFiniteLoss, match="2 steps in a row"):
        disturbed_run(
            tmp_path,
            monkeypatch,
            SpoilLoss({0, 2}),
            "trainer.accumulate_grad_batches=2",
            "module.guard.patience=2",
        )
    spoilt = torch.load(tmp_path / "refused" / "step1_rank0.pt", weights_only=True)
    assert isnan(spoilt["terms"]["loss"])


def test_a_refused_step_leaves_the_average_alone(tmp_path, monkeypatch):
    trainer = disturbed_run(tmp_path, monkeypatch, SpoilLoss({1}), "total_steps=2")
    assert trainer.global_step == 2 and trainer.lightning_module.average.num_updates == 1


def test_a_good_step_ends_the_count_of_bad_ones(tmp_path):
    guard = NonFiniteGuard(patience=2, directory=str(tmp_path))
    net = torch.nn.Linear(1, 1)
    for step in range(3):
        guard.refuse(net, {"loss": torch.tensor(float("nan"))}, ("clip",), f"step{step}")
        guard.accept()
    assert guard.in_a_row == 0


class SendSignal(pl.Callback):
    """Warn the whole group of processes, workers too, as clusters do."""

    def __init__(self, number):
        self.number = number

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 1:
            for process in (*multiprocessing.active_children(), multiprocessing.current_process()):
                os.kill(process.pid, self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_stops_after_the_step_under_way(tmp_path, monkeypatch, number):
    before = signal.getsignal(number)
    disturbed_run(tmp_path, monkeypatch, SendSignal(number), "total_steps=9", "data.num_workers=1")
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert signal.getsignal(number) == before


class ValidateNever(SendSignal):
    """Whoever sends a signal soon kills: nothing that takes long may come before the checkpoint, or after."""

    def on_validation_start(self, trainer, pl_module):
        raise AssertionError("a run that was told to stop validates")


def test_a_run_that_is_told_to_stop_does_not_validate_first(tmp_path, monkeypatch):
    never = ("total_steps=9", "trainer.val_check_interval=9", "trainer.limit_val_batches=1")
    disturbed_run(tmp_path, monkeypatch, ValidateNever(signal.SIGTERM), *never)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_resume_auto_starts_afresh_where_there_is_nothing(tmp_path):
    cfg = compose_config("train", [f"paths.output_dir={tmp_path}", "resume=auto"])
    assert checkpoint_to_resume(cfg) is None


def on_two_processes(scenario, directory):
    """Run ``scenario(rank, directory)`` in both processes of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(as_rank, args=(port, scenario, directory), nprocs=2)


def as_rank(rank, port, scenario, directory):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), LOCAL_RANK=str(rank), NODE_RANK="0")
    scenario(rank, directory)


def train_with_a_bad_rank(rank, directory):
    with pytest.MonkeyPatch.context() as patch:
        spoil = SpoilLoss({1} if rank == 1 else ())
        trainer = disturbed_run(directory, patch, spoil, *TWO, "total_steps=3", "trainer.limit_val_batches=1")
    torch.save(weights(trainer), directory / f"rank{rank}.pt")
    shown = {name: float(value) for name, value in trainer.callback_metrics.items() if "val/" in name}
    (directory / f"rank{rank}.json").write_text(json.dumps(shown, sort_keys=True))


def test_what_is_not_a_number_on_one_rank_is_skipped_on_both(tmp_path):
    on_two_processes(train_with_a_bad_rank, tmp_path)
    ends = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    assert all(value.isfinite().all() for value in ends[0].values())
    assert sorted(p.name for p in (tmp_path / "refused").iterdir()) == ["step1_rank0.pt", "step1_rank1.pt"]
    # There is one validation clip: the second rank has none, and yet takes part and knows the scores.
    assert (tmp_path / "rank0.json").read_text() == (tmp_path / "rank1.json").read_text() != "{}"


def train_where_nothing_can_be_saved(_, directory):
    (directory / "checkpoints").touch()  # where a folder is to be made
    with pytest.raises(OSError, match="last.ckpt: the checkpoint could not be written"):
        run(directory, *TWO, "trainer.limit_val_batches=0", "total_steps=1")


def test_when_the_first_rank_cannot_save_no_rank_waits_for_it(tmp_path):
    on_two_processes(train_where_nothing_can_be_saved, tmp_path)
