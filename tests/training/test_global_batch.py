# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""As many clips in a step as before, whatever the processes and their batches; and rates that follow."""

import pytest
import pytorch_lightning as pl
import torch
from test_accumulation import Trace, disturbed
from test_training_run import weights

from retracker.train import main
from retracker.training.global_batch import StepSize, go_on, keep_global_batch
from retracker.training.optimisation import Optimisation

FOUR = (
    "global_batch=4",
    "total_steps=3",
    "ckpt=tiny",
    "trainer.limit_val_batches=1",
    "trainer.val_check_interval=2",
)


class Validated(Trace):
    """Note after which steps there was a validation, too."""

    def __init__(self):
        super().__init__()
        self.after = []

    def on_validation_start(self, trainer, pl_module):
        self.after.append(trainer.global_step)


def test_a_run_goes_on_with_other_batches_as_if_nothing_had_happened(tmp_path, monkeypatch):
    """Weights but for rounding, which differs with the number of clips in a batch."""
    whole, before, after = Validated(), Validated(), Validated()
    unbroken = weights(disturbed(tmp_path / "unbroken", monkeypatch, whole, *FOUR, "data.batch_size=2"))
    stopped = ("data.batch_size=2", "trainer.max_steps=1")
    disturbed(tmp_path / "broken", monkeypatch, before, *FOUR, *stopped)
    changed = ("data.batch_size=1", "resume=auto")
    resumed = disturbed(tmp_path / "broken", monkeypatch, after, *FOUR, *changed)
    assert resumed.accumulate_grad_batches == 4 and resumed.global_step == 3
    names = [name for trace in (before, after) for batch in trace.names for name in batch]
    assert names == [name for batch in whole.names for name in batch] and len(names) == 12
    assert len(after.names) == 8  # one clip each
    assert before.after + after.after == whole.after == [2]
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=2e-4)  # of Adam's 5e-4 a step


def trainer(world_size, accumulate=1):
    return pl.Trainer(
        accelerator="cpu",
        devices=world_size,
        strategy="ddp",
        accumulate_grad_batches=accumulate,
        val_check_interval=250,
        check_val_every_n_epoch=None,
        logger=False,
        enable_checkpointing=False,
    )


def test_batches_are_accumulated_until_there_are_as_many_clips_and_validation_counts_steps():
    for world_size, accumulate in ((1, 12), (2, 6), (6, 2)):
        given = trainer(world_size)
        keep_global_batch(given, 24, batch_size=2)
        assert given.accumulate_grad_batches == accumulate
        assert given.val_check_interval == 250 * accumulate
    given = trainer(3, accumulate=5)
    keep_global_batch(given, None, batch_size=2)
    assert given.accumulate_grad_batches == 5 and given.val_check_interval == 250


def test_what_cannot_be_dealt_out_evenly_is_refused():
    with pytest.raises(
        ValueError, match="multiple of the 10 clips of one batch of all processes .5 of .*, got 24"
    ):
        keep_global_batch(trainer(5), 24, batch_size=2)
    with pytest.raises(ValueError, match="leave that at 1"):
        keep_global_batch(trainer(2, accumulate=3), 24, batch_size=2)


def test_a_global_batch_that_does_not_divide_is_one_line(tmp_path, capsys):
    told = ["pretrained=none", "trainer.accelerator=cpu", "trainer.devices=1", f"paths.output_dir={tmp_path}"]
    assert main([*told, "global_batch=3", "data.batch_size=2"]) == 2
    assert "global_batch: must be a multiple of the 2 clips" in capsys.readouterr().err.splitlines()[-1]


def counts(ready, completed):
    return {"ready": ready, "started": ready, "processed": ready, "completed": completed}


def checkpoint(ready, completed, accumulate):
    progress = {
        "current": counts(ready, completed),
        "total": counts(ready, completed),
        "is_last_batch": False,
    }
    return {
        "step_size": {"batch_size": 1, "accumulate": accumulate, "world_size": 8 // accumulate},
        "loops": {"fit_loop": {"epoch_loop.batch_progress": progress}},
        "optimizer_states": [
            {"param_groups": [{"lr": 0.5, "initial_lr": 1.0}, {"lr": 0.05, "initial_lr": 0.1}]}
        ],
        "lr_schedulers": [{"base_lrs": [1.0, 0.1], "_last_lr": [0.5, 0.05]}],
    }


@pytest.mark.parametrize(
    ("saved", "accumulate", "expected"),
    [
        (counts(6, 6), 2, counts(6, 6)),  # as before
        (counts(7, 7), 2, counts(6, 6)),  # within a step, by a validation: that step is taken again
        (counts(6, 5), 2, counts(6, 5)),  # at a step's end, before Lightning calls it completed
        (counts(6, 6), 4, counts(12, 12)),  # three steps of four batches
        (counts(6, 5), 1, counts(3, 2)),
        (counts(7, 7), 4, counts(12, 12)),
    ],
)
def test_batches_are_counted_as_if_all_steps_had_been_like_those_to_come(saved, accumulate, expected):
    found = checkpoint(saved["ready"], saved["completed"], accumulate=2)
    go_on(found, StepSize(batch_size=1, accumulate=accumulate, world_size=2), lambda _: 1.0)
    progress = found["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    assert progress["current"] == progress["total"] == expected


def optimisation(lr_batch, power=0.5):
    return Optimisation(
        lambda groups: torch.optim.AdamW(groups, lr=1.0),
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 4)),
        backbone_lr_scale=0.1,
        lr_batch=lr_batch,
        lr_batch_power=power,
    )


def test_rates_of_a_run_follow_the_clips_of_its_steps():
    found = checkpoint(6, 6, accumulate=2)  # steps of 8 clips
    go_on(found, StepSize(batch_size=1, accumulate=2, world_size=1), optimisation(8).factor)  # now of 2
    assert found["optimizer_states"][0]["param_groups"] == [
        {"lr": 0.25, "initial_lr": 0.5},
        {"lr": 0.025, "initial_lr": 0.05},
    ]
    assert found["lr_schedulers"] == [{"base_lrs": [0.5, 0.05], "_last_lr": [0.25, 0.025]}]


@pytest.mark.parametrize(
    ("lr_batch", "power", "factor"), [(None, 0.5, 1), (8, 0.5, 2), (8, 1, 4), (32, 1, 1)]
)
def test_the_rate_grows_with_the_clips_of_a_step_all_along_its_schedule(lr_batch, power, factor):
    optimizer, schedule = optimisation(lr_batch, power)(torch.nn.Linear(2, 2), 32)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([factor * share for share in (0.25, 0.5, 0.75, 1, 1)])


def test_a_batch_of_no_clips_is_no_reference():
    with pytest.raises(ValueError, match="lr_batch is a number of clips, or null, got 0"):
        optimisation(0)
