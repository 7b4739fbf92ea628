"""What ``run_a100.sh`` asks for, with an interpreter that only says what it was asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "run_a100.sh"
ECHO = '#!/usr/bin/env bash\nif [[ $1 == -c ]]; then echo "$NUM_GPUS"; else echo "asked: $*"; fi\n'


@pytest.mark.parametrize(
    ("num_gpus", "words", "folder", "expected"),
    [
        (0, "", None, "model=tiny"),
        (8, "", None, "model=base trainer=ddp data.num_workers=8 data.train.synthetic.size=512"),
        (8, "", "data", "model=base trainer=ddp data.num_workers=8 data=tracking_mix data.batch_size=1"),
        (8, "data_root=/d", None, "data.num_workers=8 data=tracking_mix data.batch_size=1 data_root=/d"),
        (8, "data=kubric", "data", "model=base trainer=ddp data.num_workers=8 data=kubric"),
    ],
)
def test_data_are_chosen_by_what_is_there(num_gpus, words, folder, expected, tmp_path):
    script, python = shutil.copy(SCRIPT, tmp_path), tmp_path / "python"
    python.write_text(ECHO)
    python.chmod(0o755)
    if folder:
        (tmp_path / folder).mkdir()
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(python), "NUM_GPUS": str(num_gpus)}
    answer = subprocess.run(
        ["bash", script, "tracking", *words.split()], env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip().splitlines()[-1].startswith("asked: -m retracker.train +experiment=tracking")
    assert answer.stdout.strip().endswith(expected)
