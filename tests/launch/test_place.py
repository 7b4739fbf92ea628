"""Which launcher started a process, how many take part, and what all of them call their run."""

import os

import pytest
from lightning_fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from retracker.launch.place import ALONE, ELASTIC, SLURM, place, run_id, trainer_settings

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "mine",
    "RANK": "5",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "8",
    "LOCAL_WORLD_SIZE": "4",
    "GROUP_WORLD_SIZE": "2",
}
BATCH = {"SLURM_JOB_ID": "417", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"}
STEP = BATCH | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "6", "SLURM_LOCALID": "2", "SLURM_NODEID": "1"}


@pytest.mark.parametrize(
    ("environ", "launcher", "rank", "nodes", "each"),
    [
        ({}, ALONE, 0, 1, 1),
        (BATCH, ALONE, 0, 1, 1),
        (STEP, SLURM, 6, 2, 4),
        (STEP | {"SLURM_JOB_NAME": "bash"}, ALONE, 0, 1, 1),
        (TORCHRUN, ELASTIC, 5, 2, 4),
        (STEP | TORCHRUN, ELASTIC, 5, 2, 4),
    ],
)
def test_the_launcher_says_how_many_take_part(environ, launcher, rank, nodes, each):
    here = place(environ)
    assert (here.launcher, here.rank, here.num_nodes, here.local_size) == (launcher, rank, nodes, each)


def test_nodes_with_different_numbers_of_processes_are_refused():
    with pytest.raises(ValueError, match="8 processes on 2 nodes.*nproc-per-node"):
        place(TORCHRUN | {"LOCAL_WORLD_SIZE": "3"})
    with pytest.raises(ValueError, match="8 tasks on 2 nodes.*ntasks-per-node"):
        place({name: value for name, value in STEP.items() if name != "SLURM_NTASKS_PER_NODE"})


@pytest.mark.parametrize(
    ("environ", "devices", "nodes", "kind"),
    [(TORCHRUN, 4, 2, TorchElasticEnvironment), (STEP, 4, 2, SLURMEnvironment)],
)
def test_the_trainer_is_as_large_as_the_launcher_says(environ, devices, nodes, kind, monkeypatch):
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = trainer_settings(os.environ)
    [plugin] = settings["plugins"]
    assert (settings["devices"], settings["num_nodes"]) == (devices, nodes) and isinstance(plugin, kind)


def test_lightning_does_not_requeue_a_job_that_its_batch_script_requeues(monkeypatch):
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    assert not trainer_settings(os.environ)["plugins"][0].auto_requeue


def test_alone_the_configuration_counts_also_in_a_batch_script_without_srun():
    assert trainer_settings({}) == {}
    settings = trainer_settings(BATCH)
    assert list(settings) == ["plugins"] and isinstance(settings["plugins"][0], LightningEnvironment)


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, None),
        (TORCHRUN, "mine"),
        (TORCHRUN | {"TORCHELASTIC_RUN_ID": "a/b c"}, "a_b_c"),
        (STEP, "job417"),
        (STEP | {"SLURM_RESTART_COUNT": "3"}, "job417"),
        (STEP | {"SLURM_ARRAY_JOB_ID": "400", "SLURM_ARRAY_TASK_ID": "7"}, "job400_7"),
        (STEP | {"SLURM_STEP_ID": "1"}, "job417_step1"),  # of a loop over seeds: not the folder of the first
        (STEP | {"SLURM_JOB_NAME": "interactive"}, None),
        (BATCH, None),  # Jupyter, or a batch script that does without srun: it may train more than once
        (STEP | TORCHRUN, "mine"),
        (STEP | TORCHRUN | {"RETRACKER_DATE": "yesterday"}, "yesterday"),
    ],
)
def test_all_processes_and_starts_of_a_run_give_it_the_same_name(environ, name):
    ranks = [environ | {"RANK": str(rank), "SLURM_PROCID": str(rank)} for rank in range(8)]
    assert {run_id(each) for each in ranks} == {name}


def test_torchrun_without_a_name_is_named_after_its_start_or_refused_on_several_nodes():
    unnamed = TORCHRUN | {"TORCHELASTIC_RUN_ID": "none"}
    one = unnamed | {"GROUP_WORLD_SIZE": "1"}
    assert run_id(one) == run_id(one) and len(run_id(one)) == len("2026-01-31_23-59-59")
    with pytest.raises(ValueError, match="--rdzv-id=NAME"):
        run_id(unnamed)
