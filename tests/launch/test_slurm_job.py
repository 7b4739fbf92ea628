"""scripts/train.slurm under an srun and a scontrol that treat processes and signals as those of SLURM."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys
children = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda number, _: [child.send_signal(number) for child in children])
command = sys.argv[sys.argv.index("bash"):]
for rank in range(int(os.environ["SLURM_NTASKS"])):
    own = dict(SLURM_STEP_ID="0", SLURM_PROCID=str(rank), SLURM_LOCALID=str(rank), SLURM_NODEID="0")
    children.append(subprocess.Popen(command, env=os.environ | own))
codes = [child.wait() for child in children]
sys.exit(max(code if code >= 0 else 128 - code for code in codes))
"""
SCONTROL = '#!/bin/bash\necho "$*" >> "$NOTES/requeues"\n'
# What a process of training does as far as the script can see.
PYTHON = """#!/bin/bash
case "$*" in
    -c*) echo 0 ;;
    *sites*) printf 'default\\ndata\\n' ;;
    *preflight*) ;;
    *) echo "$SLURM_PROCID $RETRACKER_DATE $*" >> "$NOTES/tasks"
       trap 'echo "$SLURM_PROCID saved" >> "$NOTES/tasks"; exit 75' USR1 TERM
       [[ "$TRAINS" == on ]] || exit "$TRAINS"
       while true; do sleep 0.1; done ;;
esac
"""


@pytest.fixture
def job(started, tmp_path):
    """Starts the batch script, as the only process that SLURM signals."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("fake_python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def submit(*words, **environ):
        usual = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHON": str(tmp_path / "fake_python"),
            "NOTES": str(tmp_path),
            "TRAINS": "on",
            "RETRACKER_OUTPUTS": str(tmp_path / "outputs"),
            "SLURM_JOB_ID": "77",
            "SLURM_JOB_NAME": "retracker",
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "2",
            "SLURM_NNODES": "1",
            "SLURM_SUBMIT_DIR": str(ROOT),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RETRACKER_")}
        return started("bash", str(ROOT / "scripts" / "train.slurm"), *words, env=clean | usual | environ)

    return submit


def notes(tmp_path, name):
    path = tmp_path / name
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_warned_job_lets_all_tasks_save_and_is_queued_again_under_its_id(job, tmp_path, number):
    batch = job("tracking", "seed=1")
    wait_for(lambda: len(notes(tmp_path, "tasks")) == 2)
    batch.send_signal(number)
    assert batch.wait(60) == 0
    begun, saved = notes(tmp_path, "tasks")[:2], notes(tmp_path, "tasks")[2:]
    words = "job77 -m retracker.train +experiment=tracking resume=auto model=tiny seed=1"
    assert sorted(begun) == [f"0 {words}", f"1 {words}"] and sorted(saved) == ["0 saved", "1 saved"]
    assert notes(tmp_path, "requeues") == ["requeue 77"]


@pytest.mark.parametrize(
    ("environ", "code", "requeued"),
    [
        ({"TRAINS": "0"}, 0, []),
        ({"TRAINS": "1"}, 0, ["requeue 77"]),
        ({"TRAINS": "70"}, 0, ["requeue 77"]),
        ({"TRAINS": "1", "SLURM_RESTART_COUNT": "3", "RETRACKER_MAX_REQUEUES": "3"}, 1, []),
        ({"TRAINS": "2"}, 2, []),
        ({"TRAINS": "75"}, 0, ["requeue 77"]),
        ({"TRAINS": "75", "SLURM_RESTART_COUNT": "3", "RETRACKER_MAX_REQUEUES": "3"}, 75, []),
        ({"TRAINS": "75", "SLURM_ARRAY_JOB_ID": "70", "SLURM_ARRAY_TASK_ID": "5"}, 0, ["requeue 70_5"]),
    ],
)
def test_a_job_is_queued_again_unless_it_is_done_or_something_must_be_put_right(
    job, tmp_path, environ, code, requeued
):
    assert job("tracking", **environ).wait(60) == code
    assert notes(tmp_path, "requeues") == requeued


def test_a_job_that_breaks_off_at_once_three_times_in_a_row_is_not_queued_again(job, tmp_path):
    def ends(count, **environ):
        return job("tracking", SLURM_RESTART_COUNT=str(count), **environ).wait(60)

    assert [ends(0, TRAINS="1"), ends(1, TRAINS="70"), ends(2, TRAINS="1")] == [0, 0, 1]
    assert len(notes(tmp_path, "requeues")) == 2
    # What was stopped, or has run for half an hour, ends the row.
    assert [ends(0, TRAINS="1"), ends(1, TRAINS="1"), ends(2, TRAINS="75")] == [0, 0, 0]
    assert [ends(3, TRAINS="1"), ends(4, TRAINS="1"), ends(5, TRAINS="1", SECONDS="1800")] == [0, 0, 0]
    assert [ends(6, TRAINS="1"), ends(7, TRAINS="1"), ends(8, TRAINS="1")] == [0, 0, 1]


def test_a_task_of_a_sweep_trains_its_own_line(job, tmp_path):
    for i in range(2):
        (tmp_path / f"run {i}").mkdir()
        (tmp_path / f"run {i}" / "words").write_text(f"tracking\nseed={i}\npaths.output_dir='a b'\n")
    (tmp_path / "order").write_text(f"{tmp_path}/run 0\n{tmp_path}/run 1\n")
    array = {
        "SLURM_ARRAY_JOB_ID": "70",
        "SLURM_ARRAY_TASK_ID": "1",
        "RETRACKER_SWEEP": str(tmp_path / "order"),
    }
    assert job(TRAINS="0", **array).wait(60) == 0
    assert notes(tmp_path, "tasks")[0].endswith("model=tiny seed=1 paths.output_dir='a b'")
    assert (tmp_path / "run 1" / "exit_code").read_text() == "0\n" and not (
        tmp_path / "run 0/exit_code"
    ).exists()


def test_outside_of_slurm_it_says_how_it_is_called():
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "train.slurm"], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 2 and "usage: sbatch" in done.stderr


@pytest.mark.slow
def test_a_real_training_of_two_tasks_goes_on_after_it_was_queued_again(job, tmp_path, free_port):
    small = ("+debug=fast", "pretrained=none", "total_steps=30", "trainer.accelerator=cpu")
    small += (
        "data.train.synthetic.size=64",
        "data.train.synthetic.num_frames=4",
        "trainer.limit_val_batches=0",
    )
    environ = {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RETRACKER_OUTPUTS": str(tmp_path / "outputs"),
        "RETRACKER_SKIP_CHECKS": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port),
    }
    run = tmp_path / "outputs" / "debug_fast" / "job77"
    batch = job("tracking", *small, "callbacks.checkpoints.every_n_steps=2", **environ)
    wait_for((run / "checkpoints" / "last.ckpt").exists, 600)
    batch.send_signal(signal.SIGUSR1)
    assert batch.wait(600) == 0
    stopped = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 2 <= stopped < 30 and notes(tmp_path, "requeues") == ["requeue 77"]
    assert job("tracking", *small, **environ, SLURM_RESTART_COUNT="1").wait(600) == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 30
    assert notes(tmp_path, "requeues") == ["requeue 77"]
    assert [path.name for path in run.parent.iterdir()] == ["job77"] and not list(run.rglob("hpc_ckpt*"))
