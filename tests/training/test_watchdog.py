# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""A process that hangs is ended and says where; one that is only slow where it may be is left alone."""

import json
import multiprocessing
import time

import pytest
import pytorch_lightning as pl
from test_training_run import disturbed_run, run

from retracker.host import HUNG
from retracker.train import build_trainer
from retracker.training.trace import StreamTrace, steps_that_count
from retracker.training.watchdog import Mark, Watchdog

IMPATIENT = ("callbacks.watchdog.timeout_s=6", "callbacks.watchdog.slow_timeout_s=60")


class Hang(pl.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        while batch_idx == 2:
            time.sleep(1)


def train_until_it_hangs(folder):
    with pytest.MonkeyPatch.context() as patch:
        disturbed_run(folder, patch, Hang(), *IMPATIENT)


def test_a_process_that_hangs_ends_and_says_where(tmp_path):
    hanging = multiprocessing.get_context("spawn").Process(target=train_until_it_hangs, args=(tmp_path,))
    hanging.start()
    hanging.join()
    assert hanging.exitcode == HUNG
    said, *stacks = (tmp_path / "stacks" / "rank0.txt").read_text().splitlines()
    assert (
        said.startswith("rank 0 hangs: no progress for ") and "at step 2, in training batch 2 (pid " in said
    )
    assert any("in on_train_batch_start" in line and "test_watchdog.py" in line for line in stacks)


class NoteLimits(pl.Callback):
    """What the watchdog allows at each moment; it comes after it among the callbacks."""

    def __init__(self):
        self.limits = {}

    def note(self, trainer, moment):
        watchdog = next(c for c in trainer.callbacks if isinstance(c, Watchdog))
        self.limits.setdefault(moment, []).append(watchdog._mark.limit_s)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.note(trainer, "training batch")

    def on_validation_start(self, trainer, pl_module):
        self.note(trainer, "validation")

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.note(trainer, "validation batch")

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.note(trainer, "save")


def test_what_is_known_to_take_long_has_the_longer_limit(tmp_path, monkeypatch):
    noted = NoteLimits()
    monkeypatch.setattr(
        "retracker.train.build_trainer",
        lambda cfg, callbacks, logger: build_trainer(cfg, [*callbacks, noted], logger),
    )
    run(tmp_path, "callbacks.watchdog.timeout_s=100", "callbacks.watchdog.slow_timeout_s=900")
    assert noted.limits["training batch"] == [900, 100, 100, 100]
    assert set(noted.limits["validation"] + noted.limits["validation batch"] + noted.limits["save"]) == {900}


def test_the_mark_of_a_run_that_ended_is_watched_no_more(tmp_path):
    trainer = run(tmp_path, *IMPATIENT, "total_steps=1", "trainer.limit_val_batches=0")
    watchdog = next(c for c in trainer.callbacks if isinstance(c, Watchdog))
    assert watchdog._thread is None and not watchdog.stacks.exists()


class EndsBy(Watchdog):
    """Note the end instead of ending the tests."""

    def __init__(self):
        super().__init__(1.0, 1.0, "nowhere")
        self.ends = []

    def _end(self, mark, waited):
        self.ends.append((mark, waited))
        self._over.set()


class Turns:
    """A clock that jumps where the process was suspended, and so many turns of the watch."""

    def __init__(self, seconds):
        self.seconds, self.now, self.over = list(seconds), 0.0, False

    def monotonic(self):
        return self.now

    def wait(self, timeout):
        self.over = self.over or not self.seconds
        self.now += 0 if self.over else self.seconds.pop(0)
        return self.over

    def set(self):
        self.over = True


@pytest.mark.parametrize(
    ("turns", "ends"),
    [([0.05] * 19, 0), ([0.05] * 22, 1), ([0.05, 3600.0, 0.05], 0)],  # the last: suspended for an hour
)
def test_time_in_which_the_process_was_suspended_does_not_count(monkeypatch, turns, ends):
    watchdog, clock = EndsBy(), Turns(turns)
    watchdog._over, watchdog._mark = clock, Mark("waiting", 3, 1.0)
    monkeypatch.setattr("retracker.training.watchdog.time.monotonic", clock.monotonic)
    watchdog._watch()
    watchdog._stop()
    assert len(watchdog.ends) == ends


@pytest.mark.parametrize("limits", [(0, 10), (20, 10)])
def test_limits_that_make_no_sense_are_refused(limits):
    with pytest.raises(ValueError, match="0 < timeout_s <= slow_timeout_s"):
        Watchdog(*limits, "stacks")


def test_of_steps_that_were_taken_twice_the_second_time_counts(tmp_path):
    path = tmp_path / "rank0.jsonl"
    first = [{"start": 0}, *({"step": step, "clips": [name]} for step, name in enumerate("abx", 1))]
    again = [{"start": 1}, {"step": 2, "clips": ["c"]}, {"step": 2, "clips": ["d"]}]
    path.write_text("\n".join(map(json.dumps, first + again)) + '\n{"step": 3, "cli')
    assert steps_that_count(path) == {1: ["a"], 2: ["c", "d"]}


def test_each_step_of_several_batches_is_traced_with_its_clips(tmp_path, monkeypatch):
    trace = StreamTrace(str(tmp_path / "trace"))
    disturbed_run(tmp_path, monkeypatch, trace, "trainer.accumulate_grad_batches=2", "total_steps=2")
    steps = steps_that_count(tmp_path / "trace" / "rank0.jsonl")
    assert list(steps) == [1, 2] and len({*steps[1], *steps[2]}) == 4
