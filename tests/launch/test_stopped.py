"""Whoever started a training learns from its exit code whether it took all its steps."""

import os
import signal

import pytest
import pytorch_lightning as pl
from small_training import CLIPS, QUICK

from retracker.host import STOPPED
from retracker.train import build_trainer, main

SMALL = ("+experiment=tracking", *QUICK, *CLIPS, "trainer.devices=1", "trainer.limit_val_batches=0")


class Warn(pl.Callback):
    """The cluster's warning, after the first step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):  # noqa: ARG002  Lightning's signature
        if batch_idx == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_training_that_was_stopped_says_so_and_one_that_ended_does_not(tmp_path, monkeypatch):
    monkeypatch.setenv("RETRACKER_OUTPUTS", str(tmp_path))
    monkeypatch.setenv("RETRACKER_DATE", "mine")
    with monkeypatch.context() as warned, pytest.raises(SystemExit) as ended:
        warned.setattr(
            "retracker.train.build_trainer",
            lambda cfg, callbacks, logger: build_trainer(cfg, [*callbacks, Warn()], logger),
        )
        main([*SMALL, "total_steps=3"])
    assert ended.value.code == STOPPED == 75
    assert main([*SMALL, "total_steps=3", "resume=auto"]) == 0
    [run] = (tmp_path / "debug_fast").iterdir()
    assert run.name == "mine" and list((run / "processes").glob("*.json")) == []
