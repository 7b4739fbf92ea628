"""From where a run goes on, and that no run writes over what another one left."""

import errno
import os
import signal

import pytest
from test_training_run import SMALL, SendSignal, disturbed_run, run

from retracker.checkpoint import read_torch, write_atomically
from retracker.configuration import RunFailed, compose_config
from retracker.endings import exit_code
from retracker.train import checkpoint_to_resume
from retracker.training.guard import NonFiniteLoss


def resume(folder, *overrides):
    return checkpoint_to_resume(compose_config("train", [*SMALL, f"paths.output_dir={folder}", *overrides]))


def test_a_sound_checkpoint_is_not_put_aside_because_it_could_not_be_read_once(tmp_path, monkeypatch):
    run(tmp_path, "trainer.max_steps=1", "trainer.limit_val_batches=0")
    write_atomically({"no": "training"}, tmp_path / "checkpoints" / "last_good.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr("retracker.checkpoint_files.hash_of", stale)
        with pytest.raises(RunFailed, match="could not be read .*Stale file handle.*start again"):
            resume(tmp_path, "resume=auto")
    assert resume(tmp_path, "resume=auto") == str(tmp_path / "checkpoints" / "last.ckpt")
    os.truncate(tmp_path / "checkpoints" / "last_good.ckpt", 99)
    assert resume(tmp_path, "resume=auto") == str(tmp_path / "checkpoints" / "last.ckpt")
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "last_good.ckpt"}


def stale(*_, **__):
    raise OSError(errno.ESTALE, "Stale file handle")


def test_a_second_run_does_not_write_over_the_states_of_a_first(tmp_path):
    first = run(tmp_path / "one", "trainer.max_steps=1", "trainer.limit_val_batches=0").global_step
    with pytest.raises(ValueError, match="holds last.ckpt of another run: say resume=auto .* another paths"):
        run(tmp_path / "one", "trainer.limit_val_batches=0")
    assert read_torch(tmp_path / "one/checkpoints/last.ckpt")["global_step"] == first == 1


def test_a_run_that_goes_on_from_a_path_goes_on_from_its_own_states_when_it_is_started_again(tmp_path):
    run(tmp_path / "one", "trainer.max_steps=1", "trainer.limit_val_batches=0")
    path = tmp_path / "one" / "checkpoints" / "last.ckpt"
    given = ("trainer.limit_val_batches=0", f"resume={path}")
    run(tmp_path / "two", "trainer.max_steps=3", *given)
    own = tmp_path / "two" / "checkpoints" / "last.ckpt"
    assert resume(tmp_path / "two", *given) == str(own)
    assert resume(tmp_path / "three", *given) == str(path)
    (tmp_path / "two" / "run.json").unlink()  # whose states these are is not known any more
    with pytest.raises(ValueError, match="holds last.ckpt of another run"):
        resume(tmp_path / "two", *given)
    assert resume(tmp_path / "two", f"resume={own}") == str(own)


def test_a_net_that_diverges_ends_in_the_words_of_the_guard(tmp_path):
    wild = ("module.optimisation.optimizer.lr=1e30", "total_steps=40", "trainer.limit_val_batches=0")
    with pytest.raises(NonFiniteLoss, match="were not finite in .* steps in a row"):
        run(tmp_path, *wild)


def test_a_run_that_is_told_to_stop_and_cannot_save_does_not_say_that_it_has(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("retracker.training.callbacks.write_atomically", stale)
        stopped = disturbed_run(tmp_path, patch, SendSignal(signal.SIGUSR1), "total_steps=9")
    assert stopped.global_step < 9 and exit_code(stopped) == 1
