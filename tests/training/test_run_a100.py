"""What ``run_a100.sh`` asks for, with an interpreter that only says what it was asked."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from retracker.launch.group import MEETING_PORTS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "run_a100.sh"
ECHO = '#!/usr/bin/env bash\nif [[ $1 == -c ]]; then echo "$NUM_GPUS"; else echo "asked: $*"; fi\n'


BASE = "model=base trainer=ddp data.num_workers=8"


@pytest.mark.parametrize(
    ("experiment", "num_gpus", "words", "folder", "expected"),
    [
        ("tracking", 0, "", None, "+experiment=tracking model=tiny"),
        ("tracking", 8, "", None, f"{BASE} data.train.synthetic.size=512 data.val.size=512"),
        ("tracking", 8, "", "data", f"{BASE} data=tracking_mix data.batch_size=1"),
        ("tracking", 8, "data_root=/d", None, f"{BASE} data=tracking_mix data.batch_size=1 data_root=/d"),
        ("tracking", 8, "data=kubric", "data", f"{BASE} data=kubric"),
        ("matching", 8, "", None, f"{BASE} data.train.posed.size=512"),
        ("matching", 8, "", "data", f"{BASE} data=matching_mix data.batch_size=1"),
        (
            "joint",
            8,
            "",
            None,
            f"{BASE} data.train.posed.size=512 data.train.clips.size=512 data.val.size=512",
        ),
        ("joint", 8, "", "data", f"{BASE} data=joint_mix data.batch_size=1"),
        ("booster", 8, "", "data", "+experiment=booster trainer=ddp data.num_workers=8"),
        ("tiny_release", 8, "", "data", "+experiment=tiny_release trainer=ddp data.num_workers=8"),
        ("booster", 0, "seed=1", None, "+experiment=booster seed=1"),
    ],
)
def test_model_and_data_are_chosen_by_experiment_and_what_is_there(
    experiment, num_gpus, words, folder, expected, tmp_path
):
    script, python = shutil.copy(SCRIPT, tmp_path), tmp_path / "python"
    python.write_text(ECHO)
    python.chmod(0o755)
    if folder:
        (tmp_path / folder).mkdir()
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "NUM_GPUS": str(num_gpus)}
    answer = subprocess.run(
        ["bash", script, experiment, *words.split()], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    asked = answer.stdout.strip().splitlines()[-1]
    assert asked.startswith(f"asked: -m retracker.train +experiment={experiment}")
    assert asked.endswith(expected)


# Of a checkout, with an interpreter that also knows the site and may find the machine wanting.
KNOWS = """#!/usr/bin/env bash
case "$*" in
    -c*) echo "$NUM_GPUS" ;;
    *sites*) printf '%s\\n' "${SITE:-default}" "${ROOT:-data}" ;;
    tools/preflight.py*) echo "checks: $*"; exit "${WANTING:-0}" ;;
    *) echo "asked: $*" ;;
esac
"""
SLURM = {"SLURM_JOB_ID": "7123", "SLURM_NODELIST": "n[3-4]", "SLURM_JOB_NAME": "retracker"}
EACH_GPU = SLURM | {
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "16",
    "SLURM_NTASKS_PER_NODE": "8",
    "SLURM_NNODES": "2",
}
EACH_NODE = EACH_GPU | {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "mine"}
ELASTIC = (
    "-m retracker.launch.elastic --nnodes={} --nproc-per-node=8 "
    "--rdzv-backend=c10d --rdzv-endpoint={} --rdzv-id={} "
)
GPUS = "model=base trainer=ddp data.num_workers=8 data.train.synthetic.size=512 data.val.size=512"


@pytest.fixture
def launch(tmp_path):
    """Calls the script in a checkout without data; its last line."""
    for name in ("run_a100.sh", "scripts", "tools", "configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = tmp_path / "commands"
    commands.mkdir()
    scripts = {
        "python": KNOWS,
        "srun": '#!/bin/bash\necho "srun: $*"',
        "scontrol": "#!/bin/bash\necho n3; echo n4",
    }
    for name, text in scripts.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def call(*words, code=0, **environ):
        usual = {"PATH": f"{commands}:/usr/bin:/bin", "NUM_GPUS": "8"}
        # A copy, since the script goes to the folder that it lies in.
        (tmp_path / "run_a100.sh").unlink()
        shutil.copy(SCRIPT, tmp_path / "run_a100.sh")
        done = subprocess.run(
            ["bash", tmp_path / "run_a100.sh", *words], env=usual | environ, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        return done.stdout.strip().splitlines()

    return call


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, f"asked: -m retracker.train +experiment=tracking {GPUS}"),
        (SLURM, "srun: --job-name=retracker --kill-on-bad-exit=0 --wait=60 bash run_a100.sh tracking"),
        (EACH_GPU, f"asked: -m retracker.train +experiment=tracking resume=auto {GPUS}"),
        (EACH_GPU | {"SLURM_JOB_NAME": "bash"}, f"asked: -m retracker.train +experiment=tracking {GPUS}"),
        (EACH_GPU | TORCHRUN, f"asked: -m retracker.train +experiment=tracking resume=auto {GPUS}"),
        (TORCHRUN, f"asked: -m retracker.train +experiment=tracking resume=auto {GPUS}"),
        (
            {"RETRACKER_DAEMON": "its record", "RETRACKER_DATE": "mine"},
            f"asked: -m retracker.train +experiment=tracking resume=auto {GPUS}",
        ),
        (EACH_NODE | {"SLURM_STEP_ID": "2"}, "asked: " + ELASTIC.format(2, "n3:28625", "job7123_step2")),
        (EACH_NODE, "asked: " + ELASTIC.format(2, "n3:28623", "job7123")),
        (
            {"RETRACKER_NNODES": "2:4", "RETRACKER_HEAD": "n9:29400", "RETRACKER_DATE": "mine"},
            "asked: " + ELASTIC.format("2:4", "n9:29400", "mine"),
        ),
    ],
)
def test_the_same_line_finds_out_where_it_is(launch, environ, expected):
    assert launch("tracking", **environ)[-1].startswith(expected)


def test_agents_never_meet_where_the_checks_do(launch):
    for job in ("1", "3499", "3500", "6999", "7123"):
        endpoint = launch("tracking", **EACH_NODE | {"SLURM_JOB_ID": job})[-1].split("--rdzv-endpoint=n3:")[1]
        assert int(endpoint.split()[0]) not in MEETING_PORTS


def test_under_torchrun_it_goes_on_by_itself_unless_told_otherwise(launch):
    last = launch("tracking", "resume=null", **EACH_NODE)[-1]
    assert last.endswith(f"-m retracker.train +experiment=tracking resume=auto {GPUS} resume=null")


def test_the_site_is_added_and_its_data_are_used_if_they_are_there(launch, tmp_path):
    assert f"paths=lab {GPUS}" in launch("tracking", SITE="lab", ROOT="/nowhere/at/all")[-1]
    assert (
        "paths=lab model=base trainer=ddp data.num_workers=8 data=tracking_mix"
        in (launch("tracking", SITE="lab", ROOT=str(tmp_path))[-1])
    )
    assert "data=tracking_mix" in launch("tracking", SITE="lab", ROOT="s3://bucket/data")[-1]
    assert launch("tracking", "paths=mine", SITE="lab")[-1].count("paths=") == 1


def test_a_machine_that_is_wanting_is_told_before_anything_runs_and_checks_can_be_left_out(launch):
    assert launch("tracking", code=2, WANTING="2")[-1].startswith(
        "checks: tools/preflight.py +experiment=tracking"
    )
    assert launch("--skip-checks", "tracking", WANTING="2")[-1].startswith("asked: ")
    assert launch("tracking", WANTING="2", RETRACKER_SKIP_CHECKS="1")[-1].startswith("asked: ")
    assert "--processes 8 +experiment" in launch("tracking", **EACH_NODE)[-2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nnodes", "two"), "--nnodes: expected N or MIN:MAX, got 'two'"),
        (("--nnodes", "2", "--id", "mine"), "--head: several nodes meet at one of them"),
        (("--nnodes", "2", "--head", "n3:29400"), "--id: several nodes write to one folder"),
        (("--processes", "0"), "--processes: expected a number, got '0'"),
        (("--nodes", "2"), "--nodes: unknown"),
        (("--nnodes",), "--nnodes: expected a value"),
    ],
)
def test_mistakes_in_the_words_of_an_elastic_run_are_one_line(words, message):
    environ = {"PATH": os.environ["PATH"], "PYTHON": "true", "RETRACKER_PROCESSES": "1"}
    done = subprocess.run(
        ["bash", ROOT / "scripts" / "train_elastic.sh", *words], env=environ, capture_output=True, text=True
    )
    [line] = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"error: {message}")
