"""The exit code of a training reaches whoever started torchrun, and a mistake is made only once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AGENT = (sys.executable, "-m", "retracker.launch.elastic", "--nnodes=1", "--rdzv-backend=c10d")
AGENT += ("--rdzv-endpoint=localhost:0", "--local-addr=localhost", "--no-python", "--max-restarts=1")


@pytest.mark.parametrize(
    ("codes", "code", "starts"), [("0 0", 0, 1), ("1 2", 2, 1), ("75 1", 75, 2), ("1 70", 70, 2)]
)
def test_the_code_that_tells_most_is_that_of_the_agent(tmp_path, codes, code, starts):
    """Two processes, which wait for each other so that both have ended when the agent looks."""
    ends = f'echo >> {tmp_path}/starts$RANK; codes=({codes}); exit "${{codes[$RANK]}}"'
    done = subprocess.run(
        [*AGENT, "--nproc-per-node=2", "--monitor-interval=3", "bash", "-c", ends],
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert len((tmp_path / "starts0").read_text().splitlines()) == starts


def test_an_agent_that_is_told_to_stop_says_so_when_its_processes_have_saved(started, tmp_path):
    saves = f"trap 'echo saved > {tmp_path}/saved; exit 75' TERM;"
    saves += f" touch {tmp_path}/ready; while true; do sleep 0.1; done"
    agent = started(*AGENT, "--nproc-per-node=1", "bash", "-c", saves)
    deadline = time.monotonic() + 120
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(60) == 75 and (tmp_path / "saved").exists()


def test_a_mistake_in_a_training_under_a_daemon_is_not_tried_again(tmp_path):
    environ = os.environ | {"PYTHON": sys.executable, "RETRACKER_SKIP_CHECKS": "1"}
    environ |= {"RETRACKER_OUTPUTS": str(tmp_path), "RETRACKER_DAEMONS": str(tmp_path / "daemons")}
    words = ("tracking", "+debug=fast", "pretrained=none", "trainer.accelerator=cpu", "data.batch_size=0")
    train = ("bash", str(ROOT / "scripts" / "train_elastic.sh"), "--processes", "1", *words)
    daemon = ("bash", str(ROOT / "scripts" / "daemon.sh"), "run", "mine", "--pause", "0.1", "--", *train)
    done = subprocess.run(daemon, env=environ, capture_output=True, text=True)
    log = (tmp_path / "daemons" / "mine" / "log").read_text()
    assert done.returncode == 1 and "exit code 2: something must be put right" in done.stderr, log
    assert log.count("error: ") == 1 and "batch_size" in log
