"""Processes meet before they train, and say who differs."""

import os
import subprocess
from dataclasses import replace

import pytest
import torch
from torch import distributed

from retracker.launch import group
from retracker.launch.group import Facts, GroupFault, differences, facts, meet, meet_own, skew
from retracker.launch.place import Place
from retracker.launch.same_code import refuse_differences

HERE = Facts(host="a", clock=100.0, revision="abc", versions={"torch": "2.15.0", "numpy": "2.4.6"})


def test_two_processes_of_a_machine_add_up_a_number():
    [told] = meet_own(2, seconds=60, on_gpu=False)
    assert told.versions["torch"] == torch.__version__.partition("+")[0] and told.revision == facts().revision


@pytest.mark.gpu
def test_gpus_add_up_a_number_over_nccl():
    [told] = meet_own(torch.cuda.device_count(), seconds=60, on_gpu=True)
    assert told.host == facts().host


def test_one_that_does_not_come_is_told_in_a_sentence(free_port):
    environ = {
        "TORCHELASTIC_RUN_ID": "mine",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port),
    }
    with pytest.raises(GroupFault, match="rank 0 on .* could not add up a number with the 1 other processes"):
        meet(Place("torchrun", 0, 2, 1), environ, seconds=2, on_gpu=False)


def test_a_host_with_other_code_or_packages_is_named_once():
    same = replace(HERE, host="b")
    other = replace(HERE, host="c", revision="abd", versions={"torch": "2.14.0", "numpy": "2.4.6"})
    assert differences([HERE, same]) == []
    revision, versions = differences([HERE, same, other, other])
    assert "c runs revision abd, a abc" in revision and "c has torch 2.14.0 (not 2.15.0)" in versions


def test_the_skew_is_that_of_the_clocks_that_differ_most():
    assert skew([HERE, replace(HERE, clock=98.5), replace(HERE, clock=100.5)]) == 2.0


def test_the_revision_is_a_commit_or_unknown(monkeypatch, tmp_path):
    monkeypatch.setattr(group, "__file__", str(tmp_path / "group.py"))
    assert group.revision() == "unknown"


def test_a_package_in_a_repository_of_somebody_else_has_no_revision(monkeypatch, tmp_path):
    def git(*words):
        own = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *own, *words], cwd=tmp_path, check=True, capture_output=True)

    installed = tmp_path / "site-packages" / "group.py"
    installed.parent.mkdir()
    installed.touch()
    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    monkeypatch.setattr(group, "__file__", str(installed))
    assert group.revision() == "unknown"
    git("add", str(installed))
    git("commit", "-m", "ours")
    assert len(group.revision()) == 12
    installed.write_text("changed")
    assert group.revision().endswith(" with changes")


def test_only_revisions_that_both_know_can_differ():
    unknown = replace(HERE, host="b", revision="unknown")
    assert differences([HERE, unknown]) == differences([unknown, HERE]) == []


def meet_as_task(rank, environ):
    told = meet(Place("SLURM", rank, 2, 1), environ | {"SLURM_LOCALID": str(rank)}, seconds=60, on_gpu=False)
    assert [each.host for each in told] == [facts().host] * 2


def test_the_tasks_of_a_job_meet_at_a_port_of_their_own():
    job = str(os.getpid())  # another for each process of tests
    environ = {"SLURM_JOB_ID": job, "MASTER_ADDR": "127.0.0.1"}
    torch.multiprocessing.start_processes(meet_as_task, args=(environ,), nprocs=2, start_method="fork")


def train_other_code(rank, folder):
    """The second of two processes has another revision."""
    distributed.init_process_group("gloo", store=distributed.FileStore(folder, 2), rank=rank, world_size=2)
    refuse_differences(facts())
    with pytest.raises(ValueError, match="host1 runs revision rev1, host0 rev0"):
        refuse_differences(replace(HERE, host=f"host{rank}", revision=f"rev{rank}"))


def test_all_ranks_refuse_to_train_different_programs(tmp_path):
    torch.multiprocessing.start_processes(
        train_other_code, args=(str(tmp_path / "store"),), nprocs=2, start_method="fork"
    )
