"""Two torchrun agents, as two nodes that share a folder, on loopback, through scripts/train_elastic.sh."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from small_training import CHECKED, CLIPS, QUICK

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # s, on a busy machine: a start takes most of it

SMALL = (*QUICK, *CLIPS, *CHECKED, "data.val.length=1", "total_steps=4")


@pytest.fixture
def agent(started, free_port, tmp_path):
    """Starts one agent; its output goes to a file of its name."""

    def begin(name, nnodes, *words):
        environ = os.environ | {
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "RETRACKER_OUTPUTS": str(tmp_path),
            "RETRACKER_SKIP_CHECKS": "1",
            "RETRACKER_RDZV_CONF": "join_timeout=300,last_call_timeout=10",
        }
        own = ("--nnodes", nnodes, "--head", f"127.0.0.1:{free_port}", "--id", "both", "--processes", "1")
        script = str(ROOT / "scripts" / "train_elastic.sh")
        with (tmp_path / f"{name}.log").open("w") as log:
            return started(
                "bash", script, *own, "tracking", *SMALL, *words, stdout=log, stderr=log, env=environ
            )

    return begin


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


@pytest.mark.slow
def test_two_nodes_train_together_and_leave_one_set_of_files(agent, tmp_path):
    nodes = [agent(name, "2") for name in ("a", "b")]
    logs = [tmp_path / f"{name}.log" for name in ("a", "b")]
    assert [node.wait(PATIENCE) for node in nodes] == [0, 0], [log.read_text()[-2000:] for log in logs]
    members = "".join(log.read_text() for log in logs)
    assert "MEMBER: 1/2" in members and "MEMBER: 2/2" in members
    [run] = (tmp_path / "debug_fast").iterdir()
    assert run.name == "both"
    kept = {path.name for path in (run / "checkpoints").glob("*.ckpt")}
    assert kept == {"best.ckpt", "last.ckpt", "last.1.ckpt", "last.2.ckpt"}
    assert len(list(run.rglob("events.*"))) == len(list(run.rglob("config.yaml"))) == 1
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_a_node_that_loses_the_other_goes_on_alone_to_the_end(agent, free_port, tmp_path):
    """Only the agent is killed: its process of training must not go on without it."""
    words = (
        "total_steps=40",
        "trainer.val_check_interval=1000",
        "trainer.limit_val_batches=0",
        "callbacks.checkpoints.every_n_steps=2",
    )
    first, second = agent("a", "1:2", *words), agent("b", "1:2", *words)
    log, last = tmp_path / "a.log", tmp_path / "debug_fast" / "both" / "checkpoints" / "last.ckpt"
    wait_for(lambda: "with 2 processes" in log.read_text() + (tmp_path / "b.log").read_text(), "both")
    written = last.stat().st_mtime_ns if last.exists() else 0
    wait_for(lambda: last.exists() and last.stat().st_mtime_ns > written, "a checkpoint of both")
    # Who holds the rendezvous (the first to open its port) cannot be lost: scripts/daemon.sh mends that.
    holder = listens(free_port, (first.pid, second.pid))
    lost, kept = (second, first) if holder == first.pid else (first, second)
    os.kill(lost.pid, signal.SIGKILL)
    assert kept.wait(PATIENCE) == 0, log.read_text()[-3000:]
    assert torch.load(last, weights_only=True)["global_step"] == 40
    text = (tmp_path / ("a.log" if kept is first else "b.log")).read_text()
    before, after = text.rsplit("resume=auto: ", 1)
    assert "last.ckpt" in after.splitlines()[0] and "trained 40 steps" in after and "MEMBER: " in before


def listens(port, pids):
    """Which of these processes listens on a port."""
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    [found] = [
        pid for pid in pids if sockets & {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    ]
    return found
