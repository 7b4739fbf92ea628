"""Keep a training alive here: python tools/daemon.py start|stop|status|run NAME [options] -- COMMAND.

start returns at once, and what it started outlives the terminal; run stays in front. The command is started
again whenever it fails, after a pause that doubles from failure to failure, until it ends with exit code 0,
is stopped, ends with exit code 2 (a mistake in its words), or has failed too often in too short a time:
status says why. Everything is in outputs/daemons/NAME (RETRACKER_DAEMONS: another folder than
outputs/daemons; each of several nodes needs its own): log, log.1, ... and status.json.
The command gets RETRACKER_DATE=NAME, so that every start
writes to one folder of outputs, unless that is set already.
"""

import argparse
import logging.handlers
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retracker.configuration import run_command
from retracker.launch import DATE
from retracker.launch.ending import send
from retracker.launch.supervision import (
    FINISHED,
    GAVE_UP,
    RUNNING,
    STOPPED,
    WAITING,
    AlreadyKept,
    Daemon,
    Policy,
    Status,
    elsewhere,
    keeper,
    kept_already,
    read_status,
)

MEGABYTE = 2**20
PATIENCE = 60  # s for a daemon to show that it is there: on a busy machine Python takes its time


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the first word says; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    own, command = split(words)
    arguments = parser().parse_args(own)
    folder = Path(os.environ.get("RETRACKER_DAEMONS", "outputs/daemons")) / arguments.name
    if arguments.action in ("start", "run") and not command:
        raise ValueError(
            f"{arguments.action}: say what to keep running: {arguments.action} NAME -- COMMAND ..."
        )
    if arguments.action == "run":
        stay(folder, command, arguments)
    elif arguments.action == "start":
        start(folder, own, command)
    elif arguments.action == "stop":
        stop(folder, arguments.grace)
    else:
        sys.stdout.write(told(folder))


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is ours, and the command behind ``--``."""
    if "--" not in words:
        return list(words), []
    at = list(words).index("--")
    return list(words[:at]), list(words[at + 1 :])


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("action", choices=["start", "stop", "status", "run"])
    made.add_argument("name", help="of the run: letters, digits, dots, dashes and underscores")
    made.add_argument("--pause", type=float, default=5, metavar="S", help="after the first failure")
    made.add_argument("--longest", type=float, default=600, metavar="S", help="that a pause may grow to")
    made.add_argument(
        "--healthy", type=float, default=1800, metavar="S", help="a run this long ends the series"
    )
    made.add_argument("--failures", type=int, default=5, help="within --window after which it gives up")
    made.add_argument("--window", type=float, default=6 * 3600, metavar="S")
    made.add_argument("--grace", type=float, default=120, metavar="S", help="to save in when told to stop")
    made.add_argument("--log-mb", type=float, default=20, help="size of a log at which the next one is begun")
    made.add_argument("--logs", type=int, default=5, help="old logs that are kept")
    return made


def stay(folder: Path, command: Sequence[str], arguments: argparse.Namespace) -> None:
    """Be the daemon; exits with 1 if it gave up."""
    policy = Policy(
        arguments.pause,
        arguments.longest,
        arguments.healthy,
        arguments.failures,
        arguments.window,
        arguments.grace,
    )
    folder.mkdir(parents=True, exist_ok=True)
    size = int(arguments.log_mb * MEGABYTE)
    log = logging.handlers.RotatingFileHandler(
        folder / "log", maxBytes=size, backupCount=arguments.logs, delay=True
    )
    last = Daemon(folder, command, policy).keep(log, {DATE: arguments.name, **os.environ})
    if last.state == GAVE_UP:
        sys.stderr.write(f"{arguments.name}: gave up: {last.reason}\n")
        sys.exit(1)


def start(folder: Path, own: Sequence[str], command: Sequence[str]) -> None:
    """Start a daemon in a session of its own, and wait until it is there."""
    if keeper(folder) is not None:
        raise AlreadyKept(kept_already(folder))
    folder.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, __file__, "run", *own[1:], "--", *command]
    with (folder / "daemon.out").open("w") as out:
        made = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    deadline = time.monotonic() + PATIENCE
    while keeper(folder) is None and made.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    if made.poll() not in (None, 0, 1):  # 1: it was there, and has given up already
        raise ValueError((folder / "daemon.out").read_text().strip().removeprefix("error: "))
    sys.stdout.write(told(folder))


def stop(folder: Path, grace: float) -> None:
    """Tell a daemon to stop what it keeps, and wait until both are gone."""
    daemon = keeper(folder)
    if daemon is None:
        raise ValueError(f"{folder.name}: no daemon keeps it now: {read_status(folder).state}")
    send(daemon.pid, daemon.start_ticks, signal.SIGTERM)
    deadline = time.monotonic() + grace + PATIENCE
    while keeper(folder) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    if keeper(folder) is not None:
        raise ValueError(
            f"{folder.name}: it has not stopped in {grace + PATIENCE:g} s: tools/kill_process.py {folder}"
        )
    sys.stdout.write(told(folder))


def told(folder: Path) -> str:
    """What status says."""
    status = read_status(folder)
    unkept = keeper(folder) is None and status.state in (RUNNING, WAITING)
    if unkept and elsewhere(folder):
        status = replace(status, reason=f"says a daemon on {', '.join(elsewhere(folder))}: ask there")
    elif unkept:
        status = replace(status, state="dead", reason="the daemon was killed; the command with it")
    return "\n".join(f"{name:<10}{value}" for name, value in lines(folder, status).items()) + "\n"


def lines(folder: Path, status: Status) -> dict[str, object]:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.since))
    ended = status.state in (FINISHED, STOPPED, GAVE_UP)
    shown = {
        folder.name: f"{status.state}, {'at' if ended else 'since'} {began}",
        "because": status.reason,
        "restarts": status.restarts,
        "last exit": status.last_exit,
        "last step": status.last_step,
        "command": shlex.join(status.command),
        "log": folder / "log",
    }
    return {name: value for name, value in shown.items() if value not in ("", None)}


if __name__ == "__main__":
    sys.exit(main())
