"""A metric to choose the best state by that no validation measures is told of, once, and stops nothing."""

import logging
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
from small_training import CHECKED, CLIPS, QUICK

from retracker.configuration import compose_config
from retracker.train import train
from retracker.training.callbacks import Checkpoints


def told(caplog):
    return [record.getMessage() for record in caplog.records if "best.ckpt" in record.getMessage()]


def test_a_misspelt_monitor_is_told_of_once_with_what_there_is(tmp_path, caplog):
    small = ("+experiment=tracking", *QUICK, *CLIPS, *CHECKED, "data.val.length=1", "trainer.devices=1")
    misspelt = ("callbacks.checkpoints.monitor=val/nothing", f"paths.output_dir={tmp_path}")
    trainer = train(compose_config("train", [*small, *misspelt, "total_steps=4"]))
    assert trainer.global_step == 4
    (message,) = told(caplog)
    assert "monitor=val/nothing" in message
    assert "val/AJ, " in message and "val/loss" in message
    assert not (tmp_path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize(("measured", "times"), [({}, 0), ({"train/loss": 1.0}, 0), ({"val/loss": 1.0}, 1)])
def test_only_a_run_that_validates_something_is_told_and_once(measured, times, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    callback = Checkpoints(str(tmp_path), "val/AJ", "max", every_n_steps=1, keep=1, max_failures=1)
    lightning = Mock(pl.Trainer, callback_metrics=measured, sanity_checking=False, is_global_zero=True)
    for _ in range(2):
        callback.on_validation_end(lightning, Mock(pl.LightningModule))
    assert len(told(caplog)) == times
