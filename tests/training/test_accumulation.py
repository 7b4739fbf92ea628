# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Steps of several batches each, broken off and resumed anywhere."""

import os
import signal

import pytorch_lightning as pl
import torch
from test_training_run import disturbed_run, weights

EVERY_STEP_HAS_TWO = ("trainer.accumulate_grad_batches=2", "total_steps=3")


class Trace(pl.Callback):
    """Note which clips are learnt from, and warn the process in the middle of a step."""

    def __init__(self, warn_at=None):
        self.warn_at, self.names = warn_at, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.names.append(batch.name)
        if batch_idx == self.warn_at:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_stopped_in_the_middle_of_a_step_goes_on_as_if_nothing_had_happened(tmp_path, monkeypatch):
    whole, before, after = Trace(), Trace(warn_at=2), Trace()
    unbroken = weights(disturbed(tmp_path / "unbroken", monkeypatch, whole, *EVERY_STEP_HAS_TWO))
    stopped = disturbed(tmp_path / "broken", monkeypatch, before, *EVERY_STEP_HAS_TWO)
    assert stopped.global_step == 2  # the step under way is finished first
    resumed = disturbed(tmp_path / "broken", monkeypatch, after, *EVERY_STEP_HAS_TWO, "resume=auto")
    assert before.names + after.names == whole.names
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)


def test_a_run_resumed_from_a_state_within_a_step_takes_that_step_again(tmp_path, monkeypatch):
    whole, after = Trace(), Trace()
    unbroken = weights(disturbed(tmp_path / "unbroken", monkeypatch, whole, *EVERY_STEP_HAS_TWO))
    validated = (*EVERY_STEP_HAS_TWO, "trainer.limit_val_batches=1", "trainer.val_check_interval=3")
    disturbed(tmp_path / "short", monkeypatch, Trace(), *validated, "trainer.max_steps=2")
    best = f"resume={tmp_path / 'short' / 'checkpoints' / 'best.ckpt'}"  # after batch 3, within step 2
    resumed = disturbed(tmp_path / "resumed", monkeypatch, after, *EVERY_STEP_HAS_TWO, best)
    assert after.names == whole.names[2:]
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)


def disturbed(directory, monkeypatch, trace, *overrides):
    with monkeypatch.context() as patch:
        return disturbed_run(directory, patch, trace, *overrides)
