"""Records name one process for ever, and what ends a run ends nobody else."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from retracker.launch.ending import end, send, uppermost
from retracker.launch.processes import (
    AGENT,
    ALIVE,
    DAEMON,
    ELSEWHERE,
    GONE,
    KEPT_BY,
    OTHER,
    TRAIN,
    clear,
    descendants,
    look_up,
    record,
    recorded,
    records,
    start_ticks,
)

TOOL = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "tools" / "kill_process.py")))
STUBBORN = "trap '' TERM; echo ready; while true; do sleep 0.1; done"
FAMILY = "sleep 60 & echo ready; wait"


@pytest.fixture
def start(started):
    """Starts shell commands that say that they are ready."""

    def begin(command):
        made = started("bash", "-c", command, stdout=subprocess.PIPE)
        assert made.stdout.readline() == b"ready\n"
        return made

    return begin


def noted(run, **changes):
    """This process as a record, changed."""
    [own] = [each for each in records(run) if each.pid == os.getpid()]
    path = run / "processes" / f"{own.host}_{own.pid}.json"
    changed = replace(own, **changes)
    path.write_text(json.dumps(asdict(changed)))
    return changed


def test_a_training_process_is_on_record_while_it_trains(tmp_path):
    with recorded(tmp_path, {}, rank=3):
        [own] = records(tmp_path)
        assert (own.role, own.rank, own.pid, own.state) == (TRAIN, 3, os.getpid(), ALIVE)
    assert records(tmp_path) == []


def test_a_training_process_also_records_its_agent(tmp_path):
    with recorded(tmp_path, {"TORCHELASTIC_RUN_ID": "mine"}, rank=0):
        assert {each.role: each.pid for each in records(tmp_path)} == {
            TRAIN: os.getpid(),
            AGENT: os.getppid(),
        }


def test_a_daemon_is_recorded_as_it_described_itself(tmp_path, start):
    daemon = look_up(DAEMON, start(FAMILY).pid)
    with recorded(tmp_path, {KEPT_BY: json.dumps(asdict(daemon))}, rank=0):
        assert daemon in records(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"host": "another"}, {"boot": "another"}, {"start_ticks": 1}, {"pid": 2**22 + 1}]
)
def test_a_daemon_that_is_not_that_process_here_is_not_recorded(tmp_path, start, changes):
    """Its number may be that of somebody else, whom kill_process would end."""
    daemon = replace(look_up(DAEMON, start(FAMILY).pid), **changes)
    with recorded(tmp_path, {KEPT_BY: json.dumps(asdict(daemon))}, rank=0):
        assert [each.role for each in records(tmp_path)] == [TRAIN]


@pytest.mark.parametrize("text", ["", "12", "12 of another version", "{}"])
def test_what_is_no_record_of_a_daemon_keeps_nobody_from_training(tmp_path, text):
    with recorded(tmp_path, {KEPT_BY: text}, rank=0):
        assert [each.role for each in records(tmp_path)] == [TRAIN]


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, ALIVE),
        ({"start_ticks": 1}, OTHER),
        ({"boot": "another"}, GONE),
        ({"host": "another"}, ELSEWHERE),
        ({"pid": 2**22 + 1}, GONE),  # more than Linux gives out
    ],
)
def test_a_record_knows_whether_its_process_is_still_that_one(tmp_path, changes, state):
    record(tmp_path, TRAIN, os.getpid(), 0)
    assert noted(tmp_path, **changes).state == state


def test_records_of_the_dead_are_cleared_away_by_who_comes_next(tmp_path, start):
    alive, dead = start(FAMILY), start(FAMILY)
    for each in (alive, dead):
        record(tmp_path, TRAIN, each.pid)
    os.killpg(dead.pid, signal.SIGKILL)
    dead.wait()
    clear(tmp_path)
    assert [each.pid for each in records(tmp_path)] == [alive.pid]


def test_a_file_that_is_no_record_is_named(tmp_path):
    (tmp_path / "processes").mkdir()
    (tmp_path / "processes" / "host_1.json").write_text('{"pid": 1}')
    with pytest.raises(ValueError, match="host_1.json: not the record of a process"):
        records(tmp_path)


def test_a_zombie_is_dead(start):
    child = start("echo ready")
    for _ in range(100):
        if start_ticks(child.pid) is None:
            break
        time.sleep(0.05)
    assert Path(f"/proc/{child.pid}/stat").exists()  # nobody has waited for it yet
    assert start_ticks(child.pid) is None


def test_a_signal_never_reaches_another_process_with_the_same_number(start):
    child = start(FAMILY)
    assert not send(child.pid, start_ticks(child.pid) + 1, signal.SIGKILL)
    assert child.poll() is None
    assert send(child.pid, start_ticks(child.pid), signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL


def test_one_run_is_ended_with_all_its_children_and_no_other(tmp_path, start):
    own, stubborn, other = start(FAMILY), start(STUBBORN), start(FAMILY)
    for each in (own, stubborn):
        record(tmp_path / "own", TRAIN, each.pid)
    record(tmp_path / "other", TRAIN, other.pid)
    children = descendants(own.pid)
    found, killed = end(tmp_path / "own", wait=1.0)
    assert {each.pid for each in found} == {own.pid, stubborn.pid}
    assert own.pid not in killed and stubborn.pid in killed
    assert own.wait(10) == -signal.SIGTERM and stubborn.wait(10) == -signal.SIGKILL
    assert children and all(start_ticks(pid) != ticks for pid, ticks in children.items())
    assert other.poll() is None


def test_only_the_uppermost_are_told_so_that_none_is_told_twice(tmp_path, start):
    agent, alone = start(FAMILY), start(FAMILY)
    [worker] = descendants(agent.pid)
    record(tmp_path, AGENT, agent.pid)
    record(tmp_path, TRAIN, worker, 0)
    record(tmp_path, TRAIN, alone.pid, 1)
    assert uppermost(records(tmp_path)) == [agent.pid, alone.pid]


def test_the_tool_lists_and_ends(tmp_path, start, capsys):
    child = start(STUBBORN)
    record(tmp_path, TRAIN, child.pid, 0)
    assert TOOL.main([str(tmp_path), "--list"]) == 0
    assert f"pid {child.pid}: alive" in capsys.readouterr().out
    assert TOOL.main([str(tmp_path), "--now"]) == 0
    assert f"train rank 0 pid {child.pid}: killed" in capsys.readouterr().out
    assert child.wait(10) == -signal.SIGKILL
    assert TOOL.main([str(tmp_path), "--list"]) == 0
    assert f"pid {child.pid}: gone" in capsys.readouterr().out


def test_the_tool_says_where_else_to_call_it(tmp_path, capsys):
    record(tmp_path, TRAIN, os.getpid(), 0)
    noted(tmp_path, host="node7")
    with pytest.raises(SystemExit) as ended:
        TOOL.main([str(tmp_path)])
    assert ended.value.code == 1 and "node7" in capsys.readouterr().err


def test_a_folder_without_records_is_one_line(tmp_path, capsys):
    assert TOOL.main([str(tmp_path)]) == 2
    assert "no run has left records" in capsys.readouterr().err


def test_a_child_dies_with_its_parent():
    code = (
        "import os, signal, subprocess, sys\n"
        "from retracker.host import die_with_parent\n"
        "child = subprocess.Popen(['sleep', '60'], preexec_fn=lambda: die_with_parent(signal.SIGKILL))\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    deadline = time.monotonic() + 10
    while start_ticks(int(done.stdout)) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert start_ticks(int(done.stdout)) is None
