# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What befalls a run costs it no step that was saved, and is told in one sentence."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest
import pytorch_lightning as pl
import torch
from test_training_run import SMALL, TWO, disturbed_run, on_two_processes, run, weights

from retracker.checkpoint import read_torch, verify
from retracker.configuration import RunFailed, compose_config
from retracker.train import build_trainer, checkpoint_to_resume, main
from retracker.training.guard import MOST_STATES, NonFiniteGuard
from retracker.training.memory_advice import memory_advice, out_of_memory
from retracker.training.run_record import read_record

EVERY_STEP = "callbacks.checkpoints.every_n_steps=1"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What weights a run of four steps comes to that nothing befell; that it validates changes nothing."""
    return weights(run(tmp_path_factory.mktemp("unbroken"), "trainer.limit_val_batches=0"))


class FullDisk(pl.Callback):
    """Let no file grow beyond 1 MB from one step on until another one."""

    def __init__(self, first, last):
        self.first, self.last, self.limits = first, last, resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.first:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, self.limits[1]))
        if batch_idx == self.last:
            self.lift()

    def lift(self):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


@pytest.fixture
def full_disk():
    made = []
    yield lambda first, last: made.append(FullDisk(first, last)) or made[0]
    made[0].lift()


def test_a_full_disk_costs_no_step_and_harms_no_file(tmp_path, monkeypatch, full_disk, caplog):
    disturbed_run(tmp_path, monkeypatch, full_disk(2, 4), EVERY_STEP, "total_steps=6")
    assert "MB are free and 2" in caplog.text and "failure 2 of 3" in caplog.text
    kept = {path.name: read_torch(path)["global_step"] for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"last.ckpt": 6, "last.1.ckpt": 5, "last.2.ckpt": 2}  # 3 and 4 could not be saved


def test_a_disk_that_stays_full_stops_the_run_with_the_reason(tmp_path, monkeypatch, full_disk):
    with pytest.raises(OSError, match="File too large.*MB are free.*2 saves in a row"):
        disturbed_run(
            *(tmp_path, monkeypatch, full_disk(1, 9), EVERY_STEP, "total_steps=9"),
            "callbacks.checkpoints.max_failures=2",
        )
    assert read_torch(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]


def test_a_run_whose_end_cannot_be_saved_does_not_call_itself_done(tmp_path, monkeypatch, full_disk):
    with pytest.raises(OSError, match="could not be written"):
        disturbed_run(tmp_path, monkeypatch, full_disk(3, 9))


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, with room for three states."""
    command = ["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


class Ballast(pl.Callback):
    """Fill a file system to the last byte before one step, and make room before another."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 2:
            with self.path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(2**12))
        if batch_idx == 4:
            self.path.unlink()


def test_a_run_survives_a_file_system_without_a_byte_to_spare(disk, monkeypatch, caplog):
    """Neither checkpoints nor curves can be written for two steps."""
    small = ("callbacks.checkpoints.keep=2", EVERY_STEP, "total_steps=6")
    trainer = disturbed_run(disk, monkeypatch, Ballast(disk / "ballast"), *small)
    assert trainer.global_step == 6 and "No space left on device; 0 MB are free" in caplog.text
    assert "failure 2 of 3" in caplog.text and "failure 3" not in caplog.text
    kept = {path.name: read_torch(path)["global_step"] for path in (disk / "checkpoints").iterdir()}
    assert kept == {"last.ckpt": 6, "last.1.ckpt": 5}


def test_when_the_last_checkpoint_is_damaged_the_run_goes_on_from_the_one_before(tmp_path, caplog, unbroken):
    caplog.set_level("INFO")
    run(tmp_path / "broken", EVERY_STEP, "trainer.max_steps=3")
    folder = tmp_path / "broken" / "checkpoints"
    content = bytearray((folder / "last.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "last.ckpt").write_bytes(content)
    os.utime(folder / "best.ckpt", (0, 0))
    resumed = run(tmp_path / "broken", EVERY_STEP, "resume=auto")
    assert "last.ckpt: damaged" in caplog.text and f"resume=auto: {folder / 'last.1.ckpt'}" in caplog.text
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)
    assert (folder / "last.ckpt.damaged").is_file()  # else it would be handed down as last.1.ckpt
    for path in folder.glob("*.ckpt"):
        verify(path)


class SendIn(pl.Callback):
    """Send this process a signal in the first validation."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_run_that_is_told_to_stop_in_a_validation_loses_nothing(tmp_path, monkeypatch, unbroken):
    validated = ("trainer.limit_val_batches=1", "trainer.val_check_interval=2")
    with monkeypatch.context() as patch:
        stopped = disturbed_run(tmp_path / "broken", patch, SendIn(), *validated)
    assert stopped.global_step == 2 and not (tmp_path / "broken/checkpoints/best.ckpt").exists()
    assert (
        read_record(tmp_path / "broken" / "run.json")["starts"][0]["exit"] == "stopped: told to by a signal"
    )
    resumed = run(tmp_path / "broken", *validated, "resume=auto")
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)


def test_a_stop_by_a_signal_has_an_exit_code_that_says_go_on(tmp_path, monkeypatch, capsys):
    setting = [*SMALL, f"paths.output_dir={tmp_path}", "trainer.val_check_interval=2", "resume=auto"]
    with monkeypatch.context() as patch:
        patch.setattr(
            "retracker.train.build_trainer",
            lambda cfg, callbacks, logger: build_trainer(cfg, [*callbacks, SendIn()], logger),
        )
        patch.setenv("RETRACKER_DATE", "one")
        with pytest.raises(SystemExit) as stopped:
            main(setting)
    assert (
        stopped.value.code == 75 and "trained 2 steps (stopped early; resume=auto" in capsys.readouterr().out
    )
    assert main(setting) == 0 and "trained 4 steps\n" in capsys.readouterr().out


def train_until_a_save_is_cut_off(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("retracker.checkpoint_files.hand_down", CutOff(3))
        run(folder, EVERY_STEP, "trainer.limit_val_batches=0")


class CutOff:
    """The power fails in the n-th save, before the file has its name."""

    def __init__(self, number):
        self.left = number

    def __call__(self, path, keep):
        self.left -= 1
        if self.left == 0:
            os._exit(9)


def test_a_run_killed_in_a_save_goes_on_from_the_one_before(tmp_path, unbroken):
    killed = multiprocessing.get_context("spawn").Process(
        target=train_until_a_save_is_cut_off, args=(tmp_path / "broken",)
    )
    killed.start()
    killed.join()
    folder = tmp_path / "broken" / "checkpoints"
    assert killed.exitcode == 9 and len(list(folder.glob(".*.unfinished"))) == 1
    assert read_torch(folder / "last.ckpt")["global_step"] == 2
    resumed = run(tmp_path / "broken", EVERY_STEP, "trainer.limit_val_batches=0", "resume=auto")
    torch.testing.assert_close(weights(resumed), unbroken, rtol=0, atol=0)
    assert list(folder.glob(".*")) == []


class KillDataWorker(pl.Callback):
    """Kill them all, and wait for the news: it is raised wherever the process is when it arrives."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for process in multiprocessing.active_children():
            os.kill(process.pid, signal.SIGKILL)
        time.sleep(60)


def test_a_data_worker_that_is_killed_is_named(tmp_path, monkeypatch):
    who = r"data worker [01] of rank 0 \(pid \d+\) was killed by SIGKILL .* of the stream of synthetic; "
    why = r".*ran out of memory.*\(data.num_workers is 2, data.batch_size 1\)"
    with pytest.raises(RunFailed, match=who + why):
        disturbed_run(tmp_path, monkeypatch, KillDataWorker(), "data.num_workers=2", "total_steps=99")


class Exhaust(pl.Callback):
    """Ask for more than there is."""

    def __init__(self, error=None):
        self.error = error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.error is not None:
            raise self.error
        torch.empty(2**60)


@pytest.mark.parametrize(
    "error", [None, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_a_run_without_memory_says_what_to_lower(tmp_path, monkeypatch, error):
    with pytest.raises(ValueError, match="^out of memory: ") as told:
        disturbed_run(tmp_path, monkeypatch, Exhaust(error), "data.batch_size=2")
    said = str(told.value)
    order = (
        "1. data.batch_size (now 2), and raise trainer.accumulate_grad_batches (now 1)",
        "2. clip length",
    )
    order += ("data.train.synthetic.num_frames (now 4)", "3. points: ", "4. image size: ")
    places = [said.index(words) for words in order]
    assert places == sorted(places)


def test_advice_leaves_out_what_cannot_be_lowered():
    settings = {"data.batch_size": 1, "data.window.num_frames": 24, "recompute.encode": 0}
    said = memory_advice(MemoryError(), settings)
    assert said.startswith("out of memory: MemoryError. Lower") and "data.batch_size" not in said
    assert (
        "1. clip length: data.window.num_frames (now 24); 2. " in said and "recompute.encode (now 0)" in said
    )


def test_not_every_error_is_one_of_memory():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not out_of_memory(ValueError("out of memory"))


class SpoilGradient(pl.Callback):
    """Make a gradient of some steps not a number, while the loss stays one."""

    def __init__(self, steps):
        self.steps, self.now = steps, False

    def on_train_start(self, trainer, pl_module):
        parameter = next(p for p in pl_module.net.parameters() if p.requires_grad)
        parameter.register_hook(lambda gradient: gradient * float("nan") if self.now else gradient)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.now = batch_idx in self.steps


def train_with_bad_gradients_on_one_rank(rank, directory):
    with pytest.MonkeyPatch.context() as patch:
        spoil = SpoilGradient({1} if rank == 1 else ())
        trainer = disturbed_run(directory, patch, spoil, *TWO, "total_steps=3")
    state = trainer.optimizers[0].state_dict()["state"]
    count = trainer.lightning_module.average.num_updates
    torch.save({"weights": weights(trainer), "state": state, "count": count}, directory / f"rank{rank}.pt")


def test_a_gradient_that_is_not_a_number_on_one_rank_is_refused_by_all(tmp_path):
    on_two_processes(train_with_bad_gradients_on_one_rank, tmp_path)
    ends = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    assert all(value.isfinite().all() for value in ends[0]["weights"].values()) and ends[0]["count"] == 2
    assert {float(entry["step"]) for entry in ends[0]["state"].values()} == {2.0}
    assert sorted(p.name for p in (tmp_path / "refused").iterdir()) == ["step1_rank0.pt", "step1_rank1.pt"]


def test_states_of_refused_steps_do_not_fill_the_disk(tmp_path):
    guard = NonFiniteGuard(patience=99, directory=str(tmp_path))
    for step in range(MOST_STATES + 3):
        guard.refuse(torch.nn.Linear(1, 1), {"loss": torch.tensor(float("nan"))}, ("clip",), f"step{step}")
    assert len(list(tmp_path.iterdir())) == MOST_STATES


def test_resume_auto_touches_nothing_where_all_is_well(tmp_path):
    run(tmp_path, "trainer.max_steps=1", "trainer.limit_val_batches=0")
    before = sorted(tmp_path.rglob("*.ckpt*"))
    cfg = compose_config("train", [*SMALL, f"paths.output_dir={tmp_path}", "resume=auto"])
    assert checkpoint_to_resume(cfg) == str(tmp_path / "checkpoints" / "last.ckpt")
    assert sorted(tmp_path.rglob("*.ckpt*")) == before
