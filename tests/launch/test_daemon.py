"""A kept command is started again, later each time, until it succeeds, is stopped, or fails too often."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from retracker.launch.processes import DAEMON, look_up, start_ticks, write
from retracker.launch.supervision import Policy, Status, locked, read_status, write_status

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "scripts" / "daemon.sh")
FAILS_TWICE = 'echo x >> "$1"; echo "step $(wc -l < "$1")/9"; [ "$(wc -l < "$1")" -gt 2 ]'


@pytest.fixture
def daemon(tmp_path):
    """Calls scripts/daemon.sh with a folder of the test's own; what is left running is stopped."""
    environ = os.environ | {"RETRACKER_DAEMONS": str(tmp_path), "PYTHON": sys.executable}
    environ.pop("RETRACKER_DATE", None)

    def call(*words):
        return subprocess.run(
            ["bash", SCRIPT, *words], env=environ, capture_output=True, text=True, timeout=300
        )

    yield call
    for status in tmp_path.glob("*/status.json"):
        call("stop", status.parent.name, "--grace", "1")


def told(tmp_path, name):
    return json.loads((tmp_path / name / "status.json").read_text())


def test_pauses_double_up_to_the_longest():
    policy = Policy(shortest=5, longest=60, healthy=1, failures=1, window=1, grace=1)
    assert [policy.wait(n) for n in range(1, 7)] == [5, 10, 20, 40, 60, 60]


def test_a_command_that_fails_twice_is_started_three_times(daemon, tmp_path):
    tries = tmp_path / "tries"
    done = daemon("run", "mine", "--pause", "0.1", "--", "bash", "-c", FAILS_TWICE, "_", str(tries))
    status = told(tmp_path, "mine")
    assert done.returncode == 0 and tries.read_text() == "x\n" * 3
    assert (status["state"], status["restarts"], status["last_exit"]) == ("finished", 2, 0)
    assert status["last_step"] == 3
    assert (tmp_path / "mine" / "log").read_text() == "step 1/9\nstep 2/9\nstep 3/9\n"


def test_it_gives_up_with_a_reason_after_so_many_failures(daemon, tmp_path):
    done = daemon("run", "mine", "--pause", "0.1", "--failures", "2", "--", "bash", "-c", "exit 7")
    status = told(tmp_path, "mine")
    assert done.returncode == 1 and "gave up: 2 failures within" in done.stderr
    assert (status["state"], status["restarts"], status["last_exit"]) == ("gave up", 1, 7)
    assert "because   2 failures within 21600 s, the last with exit code 7" in daemon("status", "mine").stdout


def test_a_mistake_in_the_words_is_not_tried_again(daemon, tmp_path):
    assert daemon("run", "mine", "--", "bash", "-c", "exit 2").returncode == 1
    assert told(tmp_path, "mine")["restarts"] == 0 and "put right" in told(tmp_path, "mine")["reason"]


def test_what_is_kept_outlives_its_terminal_is_the_only_one_and_is_stopped_with_its_children(
    daemon, tmp_path
):
    saves = "trap 'echo saved; exit 75' TERM; echo $$ $RETRACKER_DATE; sleep 300 & wait"
    assert "running" in daemon("start", "mine", "--grace", "60", "--", "bash", "-c", saves).stdout
    log = tmp_path / "mine" / "log"
    for _ in range(600):
        if log.exists() and log.read_text().endswith("mine\n"):
            break
        time.sleep(0.1)
    pid, name = log.read_text().split()
    again = daemon("start", "mine", "--", "true")
    assert again.returncode == 2 and "keeps it already" in again.stderr
    assert name == "mine" and start_ticks(int(pid)) is not None
    stopped = daemon("stop", "mine", "--grace", "20")
    assert "stopped" in stopped.stdout and log.read_text().endswith("saved\n")
    assert told(tmp_path, "mine")["last_exit"] == 75 and start_ticks(int(pid)) is None
    assert daemon("stop", "mine").returncode == 2


def test_when_the_daemon_is_killed_its_command_is_told_to_stop(daemon, tmp_path):
    daemon("start", "mine", "--", "bash", "-c", "echo $$; exec sleep 300")
    log = tmp_path / "mine" / "log"
    for _ in range(600):
        if log.exists() and log.read_text().strip():
            break
        time.sleep(0.1)
    [keeper] = (tmp_path / "mine" / "processes").glob("*.json")
    os.kill(json.loads(keeper.read_text())["pid"], signal.SIGKILL)
    for _ in range(100):
        if start_ticks(int(log.read_text())) is None:
            break
        time.sleep(0.1)
    assert start_ticks(int(log.read_text())) is None
    assert "dead" in daemon("status", "mine").stdout


def test_logs_are_turned_over_by_size(daemon, tmp_path):
    lines = "for i in $(seq 300); do echo line $i of a log that is turned over; done"
    daemon("run", "mine", "--log-mb", "0.004", "--logs", "2", "--", "bash", "-c", lines)
    logs = sorted((tmp_path / "mine").glob("log*"))
    assert [log.name for log in logs] == ["log", "log.1", "log.2"]
    assert all(log.stat().st_size <= 0.004 * 2**20 for log in logs)
    assert logs[0].read_text().splitlines()[-1].startswith("line 300 ")


@pytest.mark.parametrize("full", ["status.part", "log"])
def test_what_cannot_be_written_never_halts_the_command(daemon, tmp_path, full):
    """A folder of that name stands for a full disk; more is said than a pipe holds."""
    (tmp_path / "mine").mkdir()
    says = f"until mkdir -p {tmp_path}/mine/{full}; do :; done; echo step 1/9; "
    says += "head -c 300000 /dev/zero | tr '\\0' x | fold -w 3000; echo done > $RETRACKER_DAEMONS/done"
    if full == "log":
        (tmp_path / "mine" / "log").mkdir()
    assert daemon("run", "mine", "--", "bash", "-c", says).returncode == 0
    assert (tmp_path / "done").exists()


def test_a_name_that_is_not_known_and_a_command_that_is_missing_are_one_line(daemon):
    for words, message in ((("status", "mine"), "no daemon has kept"), (("start", "mine"), "-- COMMAND")):
        done = daemon(*words)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_a_daemon_of_another_node_in_the_same_folder_is_named(daemon, tmp_path):
    folder = tmp_path / "mine"
    theirs = replace(look_up(DAEMON, os.getpid()), host="node7")
    write(folder, theirs)
    write_status(folder, Status("running", "", ["true"], 1.5))
    assert "says a daemon on node7: ask there" in daemon("status", "mine").stdout
    with locked(folder):
        second = daemon("run", "mine", "--", "true")
    assert second.returncode == 2 and "daemon on node7 keeps it" in second.stderr
    assert "RETRACKER_DAEMONS=" in second.stderr


def test_the_lock_is_one_and_a_status_is_read_as_it_was_written(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="keeps it already"), locked(tmp_path):
        raise AssertionError("two hold one lock")
    status = Status("running", "", ["a", "b"], 1.5, restarts=2, last_exit=None, last_step=7)
    write_status(tmp_path, status)
    assert read_status(tmp_path) == status
