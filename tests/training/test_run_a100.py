"""What ``run_a100.sh`` asks for, with an interpreter that only says what it was asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "run_a100.sh"
ECHO = '#!/usr/bin/env bash\nif [[ $1 == -c ]]; then echo "$NUM_GPUS"; else echo "asked: $*"; fi\n'


BASE = "model=base trainer=ddp data.num_workers=8"


@pytest.mark.parametrize(
    ("experiment", "num_gpus", "words", "folder", "expected"),
    [
        ("tracking", 0, "", None, "+experiment=tracking model=tiny"),
        ("tracking", 8, "", None, f"{BASE} data.train.synthetic.size=512"),
        ("tracking", 8, "", "data", f"{BASE} data=tracking_mix data.batch_size=1"),
        ("tracking", 8, "data_root=/d", None, f"{BASE} data=tracking_mix data.batch_size=1 data_root=/d"),
        ("tracking", 8, "data=kubric", "data", f"{BASE} data=kubric"),
        ("matching", 8, "", None, f"{BASE} data.train.posed.size=512"),
        ("matching", 8, "", "data", f"{BASE} data=matching_mix data.batch_size=1"),
        ("joint", 8, "", None, f"{BASE} data.train.posed.size=512 data.train.clips.size=512"),
        ("joint", 8, "", "data", f"{BASE} data=joint_mix data.batch_size=1"),
        ("booster", 8, "", "data", "+experiment=booster trainer=ddp data.num_workers=8"),
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
