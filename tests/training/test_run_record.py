"""run.json says what a run was started with, on what, each time, and what became of it."""

import json
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from test_training_run import CutPower, PowerCut, SendSignal, SpoilLoss, disturbed_run, run

from retracker.configuration import compose_config
from retracker.host import revision
from retracker.training.machine import hardware, packages
from retracker.training.run_record import LOST, changes, read_record, write_record
from retracker.training.summary import read_run, ways_on
from retracker.training.summary_page import write_summary

QUIET = ("trainer.limit_val_batches=0", "total_steps=2")


def record_of(directory):
    return json.loads((directory / "run.json").read_text())


def test_a_run_that_is_resumed_adds_a_start_and_keeps_the_first(tmp_path):
    run(tmp_path, *QUIET, "trainer.max_steps=1")
    first = record_of(tmp_path)
    assert first["status"] == "finished" and first["steps"] == first["planned_steps"] == 1
    run(tmp_path, *QUIET, "resume=auto", "data.batch_size=1", "seed=0")
    record = record_of(tmp_path)
    start, again = record["starts"]
    assert start == first["starts"][0]
    assert (again["first_step"], again["last_step"], record["total_clips"]) == (1, 2, 2)
    assert again["resumed_from"].endswith("last.ckpt") and again["exit"] == "finished"
    assert again["changed"]["config"]["trainer.max_steps"] == [1, 2]
    assert record["config"]["total_steps"] == 2 and torch.__version__.startswith(record["packages"]["torch"])
    assert start["hardware"]["cores"] >= 1 and start["world_size"] == 1 and start["started"] <= start["ended"]
    page = (tmp_path / "summary.html").read_text()
    assert "2 times" in page and "last.ckpt" in page and "http" not in page.replace("http://www.w3.org", "")
    assert "finished" in (tmp_path / "summary.md").read_text()


def test_a_signal_and_refused_steps_are_told(tmp_path, monkeypatch):
    class Both(SendSignal):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            SpoilLoss({0}).on_train_batch_start(trainer, pl_module, batch, batch_idx)
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    disturbed_run(tmp_path, monkeypatch, Both(signal.SIGUSR1), "total_steps=9")
    record = record_of(tmp_path)
    assert record["status"] == "stopped" and "signal" in record["starts"][0]["exit"]
    assert record["refused_steps"] == [0] and record["steps"] == 2
    summary = (tmp_path / "summary.md").read_text()
    assert "1 refused" in summary and f"resume=auto paths.output_dir={tmp_path}" in summary


def test_an_error_is_told_and_what_was_killed_is_lost(tmp_path, monkeypatch):
    with pytest.raises(PowerCut):
        disturbed_run(tmp_path, monkeypatch, CutPower(1), "total_steps=2")
    record = record_of(tmp_path)
    assert record["starts"][0]["exit"] == "failed: PowerCut: " and record["steps"] == 1
    assert "failed" in (tmp_path / "summary.html").read_text()
    record["starts"][0]["exit"] = None  # as a killed run leaves it
    write_record(tmp_path / "run.json", record)
    write_summary(tmp_path)
    assert "running, or killed" in (tmp_path / "summary.md").read_text()
    monkeypatch.undo()
    run(tmp_path, *QUIET)
    assert [start["exit"] for start in record_of(tmp_path)["starts"]] == [LOST, "finished"]


def test_a_record_that_cannot_be_written_stops_no_training(tmp_path, caplog):
    (tmp_path / "run.json").mkdir()  # so that no file of this name can be put there
    trainer = run(tmp_path, *QUIET, "total_steps=1")
    assert trainer.global_step == 1
    assert "run.json could not be written" in caplog.text and "no summary of this run" in caplog.text


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}'])
def test_a_record_that_cannot_be_read_is_as_none(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    assert read_record(tmp_path / "run.json") is None


def test_what_changed_is_named_by_its_key():
    before, after = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "e": 3}
    assert changes(before, after) == {"a.c": [[1], [2]], "d": [2, None], "e": [None, 3]}


def test_the_revision_is_that_of_the_repository_a_file_belongs_to(tmp_path):
    def git(*words):
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.org")
        return subprocess.run(["git", "-C", tmp_path, *identity, *words], capture_output=True, check=True)

    file = tmp_path / "code.py"
    file.write_text("1\n")
    assert revision(file) == {"revision": None, "dirty": None}  # no repository
    git("init", "-q")
    assert revision(file) == {"revision": None, "dirty": None}  # somebody else's
    git("add", "code.py")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD").stdout.decode().strip()
    assert revision(file) == {"revision": commit, "dirty": False}
    file.write_text("2\n")
    assert revision(file) == {"revision": commit, "dirty": True}


def test_without_git_nothing_is_known_and_nothing_fails(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(Path(__file__)) == {"revision": None, "dirty": None}


def test_a_machine_is_described_in_json():
    here = json.loads(json.dumps({"hardware": hardware(), "packages": packages()}))
    assert here["hardware"]["memory_gb"] > 0 and len(here["hardware"]["gpus"]) == torch.cuda.device_count()
    assert {"python", "torch", "pytorch-lightning", "hydra-core"} <= here["packages"].keys()


def test_the_command_to_go_on_is_one_that_hydra_reads(tmp_path):
    folder = tmp_path / "lr=0.1, it's"
    run(folder.with_name("plain"), *QUIET, "total_steps=2", "trainer.max_steps=1")
    folder.with_name("plain").rename(folder)
    record = record_of(folder)
    write_record(folder / "run.json", record | {"planned_steps": 2})
    ways = dict(ways_on(read_run(folder)))
    word = shlex.split(ways["Go on"])[-1]
    assert compose_config("train", [word]).paths.output_dir == str(folder)
    assert shlex.split(ways["Curves and pictures"])[-1] == str(folder)
