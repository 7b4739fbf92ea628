"""tools/sweep.py: every combination once, finished ones not again, and a table with the best first."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch.utils.tensorboard import SummaryWriter

ROOT = Path(__file__).parents[2]
TOOL = SimpleNamespace(**runpy.run_path(str(ROOT / "tools" / "sweep.py")))
RATE = "module.optimisation.optimizer.lr"
# run_a100.sh asks it for GPUs, site and training; the run with seed 1 fails as long as "mend" is not there.
PYTHON = f"""#!/bin/bash
case "$*" in
    *tools/sweep.py*) exec {sys.executable} "$@" ;;
    -c*) echo 0 ;;
    *sites*) printf 'default\\ndata\\n' ;;
    *preflight*) ;;
    *) echo "$*" >> "$NOTES/trained"
       echo "${{RETRACKER_DAEMON:-alone}}" >> "$NOTES/daemons"
       trap 'echo saved >> "$NOTES/trained"; exit 75' TERM
       while [[ -e "$NOTES/long" ]]; do sleep 0.1; done
       [[ "$*" != *seed=1* || -e "$NOTES/mend" ]] ;;
esac
"""


@pytest.fixture
def sweep(environ):
    """Calls scripts/sweep.sh, whose trainings only leave a note."""

    def call(*words):
        words = ["bash", ROOT / "scripts" / "sweep.sh", *words]
        return subprocess.run(words, env=environ, capture_output=True, text=True)

    return call


@pytest.fixture
def environ(tmp_path):
    """In which commands and trainings are those of the test."""
    for name, text in (
        ("python", PYTHON),
        ("sbatch", '#!/bin/bash\necho "$RETRACKER_SWEEP $*" > "$NOTES/submitted"; echo "417;cluster"'),
        ("squeue", '#!/bin/bash\ncat "$NOTES/queue"'),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return os.environ | {
        "PYTHON": str(tmp_path / "python"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "NOTES": str(tmp_path),
        "RETRACKER_OUTPUTS": str(tmp_path / "outputs"),
        "RETRACKER_DAEMON": "the daemon of the sweep",
    }


def notes(tmp_path):
    path = tmp_path / "trained"
    return path.read_text().splitlines() if path.exists() else []


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_every_combination_is_a_run_of_its_own():
    combinations = TOOL.combine(
        [f"{RATE}=1e-4,3e-4", "total_steps=9", "seed=range(0,2)", "data.window.strides=[1,2]"]
    )
    assert len(combinations) == 4 and len({tuple(words) for words in combinations}) == 4
    assert all(
        words[1] == "total_steps=9" and words[3] == "data.window.strides=[1,2]" for words in combinations
    )
    runs = [TOOL.make_run("tracking", words, combinations, Path("s")) for words in combinations]
    assert [dict(run.values) for run in runs][0] == {RATE: "0.0001", "seed": "0"}
    assert [run.folder.name for run in runs] == [
        f"lr={r}_seed={s}" for r in ("0.0001", "0.0003") for s in (0, 1)
    ]


def test_a_sweep_of_nothing_and_a_misspelt_key_are_told_before_anything_runs(sweep, tmp_path):
    for words, message in ((["seed=1"], "nothing is varied"), (["sede=0,1"], "sede")):
        done = sweep("tracking", *words)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "trained").exists()


def test_the_same_line_goes_on_with_what_failed_and_leaves_out_what_is_finished(sweep, tmp_path):
    words = ("--jobs", "2", "--name", "mine", "tracking", "seed=0,1,2", "total_steps=3")
    first = sweep(*words)
    assert first.returncode == 1, first.stderr  # one has failed
    assert first.stdout.count("| finished |") == 2 and first.stdout.count("| exit code 1 |") == 1
    (tmp_path / "mend").touch()
    assert sweep(*words).stdout.count("| finished |") == 3
    trained = (tmp_path / "trained").read_text().splitlines()
    folder = tmp_path / "outputs" / "sweeps" / "mine"
    assert sorted(words.split("seed=")[1][0] for words in trained) == ["0", "1", "1", "2"]
    assert (tmp_path / "daemons").read_text().split() == [
        "alone"
    ] * 4  # or to end one run would end the sweep
    assert trained[-1].endswith(f"total_steps=3 paths.output_dir='{folder}/seed=1' resume=auto")
    assert (folder / "table.csv").read_text().startswith("seed,best val/AJ,last,state,folder\n")


def test_a_sweep_that_is_told_to_stop_lets_its_runs_save_and_starts_no_more(
    started, sweep, environ, tmp_path
):
    (tmp_path / "long").touch()
    line = ("--jobs", "2", "--name", "mine", "tracking", "seed=0,2,3")
    begun = started("bash", str(ROOT / "scripts" / "sweep.sh"), *line, env=environ)
    wait_for(lambda: len(notes(tmp_path)) == 2)
    again = sweep(*line[2:4], *line[4:5], "seed=0,2")  # both are at work: it would write over them
    assert again.returncode == 0 and again.stderr.count("at work already") == 2
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(60) == 75
    assert notes(tmp_path)[2:] == ["saved", "saved"]
    codes = (tmp_path / "outputs" / "sweeps" / "mine").glob("*/exit_code")
    assert [path.read_text() for path in codes] == ["75\n", "75\n"]


def test_runs_of_different_values_have_different_folders():
    names = [TOOL.safe(value) for value in ("[1,2]", "[1;2]", "a/b", "a-b", "a_b", "1.5", "..")]
    assert len(set(names)) == len(names) and not any("/" in name for name in names)
    assert TOOL.safe("1e-05") == "1e-05"


def test_an_array_job_has_a_line_for_each_run(sweep, tmp_path):
    assert (
        sweep("--slurm", "--sbatch=--time=1:00:00", "--name", "mine", "tracking", "seed=0,1,2").returncode
        == 0
    )
    order, *words = (tmp_path / "submitted").read_text().split()
    assert words == ["--parsable", "--array=0-2%8", "--time=1:00:00", str(ROOT / "scripts" / "train.slurm")]
    runs = [Path(line) for line in Path(order).read_text().splitlines()]
    assert [run.name for run in runs] == ["seed=0", "seed=1", "seed=2"]
    assert (runs[2] / "words").read_text().splitlines()[:2] == ["tracking", "seed=2"]


def test_the_same_line_submits_only_what_is_not_queued_any_more(sweep, tmp_path):
    line = ("--slurm", "--name", "mine", "tracking", "seed=0,1,2")
    assert sweep(*line).returncode == 0
    (tmp_path / "queue").write_text("417_0\n416_1\n417_2\n")
    assert sweep(*line).returncode == 0
    order, _, array, *_ = (tmp_path / "submitted").read_text().split()
    assert Path(order).read_text().split() == [str(tmp_path / "outputs/sweeps/mine/seed=1")]
    assert array == "--array=0-0%8"
    (tmp_path / "submitted").unlink()
    (tmp_path / "queue").write_text("417_0\n417_2\n")
    (tmp_path / "outputs/sweeps/mine/seed=1/exit_code").write_text("0\n")
    assert sweep(*line).returncode == 0 and not (tmp_path / "submitted").exists()
    (tmp_path / "queue").unlink()
    done = sweep(*line)
    assert done.returncode == 2 and "squeue ended with exit code 1" in done.stderr


def test_the_table_has_the_best_first_and_the_later_of_values_of_one_step(tmp_path):
    logged = {0: [(1, 0.2), (2, 0.4), (3, 0.3)], 1: [(1, 0.6), (2, 0.9), (2, 0.5)], 2: []}
    combinations = [[f"seed={i}"] for i in logged]
    runs = [TOOL.make_run("tracking", words, combinations, tmp_path) for words in combinations]
    for run, values in zip(runs, logged.values(), strict=True):
        with SummaryWriter(str(run.folder / "tensorboard" / "v")) as writer:
            for step, value in values:
                writer.add_scalar("val/AJ", value, step)
    for mode, order, best in (("max", "102", ("0.6000", "0.4000")), ("min", "012", ("0.2000", "0.5000"))):
        cfg = SimpleNamespace(
            callbacks=SimpleNamespace(checkpoints=SimpleNamespace(monitor="val/AJ", mode=mode))
        )
        rows = TOOL.sorted_rows(runs, cfg)
        assert "".join(row["seed"] for row in rows) == order
        assert tuple(row["best val/AJ"] for row in rows[:2]) == best and rows[2]["best val/AJ"] == ""
        assert {row["seed"]: row["last"] for row in rows} == {"0": "0.3000", "1": "0.5000", "2": ""}
    assert TOOL.markdown(rows).splitlines()[2].startswith("| 0 | 0.2000 | 0.3000 | not started |")
