"""Keep a command running: start it again when it fails, later each time, and give up with a reason."""

import fcntl
import json
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from retracker import host
from retracker.launch.ending import left, send
from retracker.launch.processes import (
    ALIVE,
    DAEMON,
    ELSEWHERE,
    KEPT_BY,
    Record,
    clear,
    descendants,
    look_up,
    record,
    records,
)

STEP = re.compile(r"\bstep (\d+)/\d+|\btrained (\d+) steps")  # what training says of itself
ORPHANS = 3  # s that what a command leaves behind may still take
RUNNING, WAITING, FINISHED, STOPPED, GAVE_UP = "running", "waiting", "finished", "stopped", "gave up"


@dataclass(frozen=True)
class Policy:
    """When a command is started again, in seconds."""

    shortest: float | int  # wait after the first failure; doubled after each one more
    longest: float | int
    healthy: float | int  # a run of this length ends a series of failures
    failures: int  # so many within ``window`` are enough
    window: float | int
    grace: float | int  # between SIGTERM and SIGKILL, when it is told to stop

    def wait(self, in_a_row: int) -> float | int:
        """How long to wait after so many failures running."""
        return min(self.longest, self.shortest * 2 ** (in_a_row - 1))


@dataclass(frozen=True)
class Status:
    """What is known of a kept command."""

    state: str
    reason: str
    command: list[str]
    since: float | int  # s since 1970: when the state began
    restarts: int = 0
    last_exit: int | None = None
    last_step: int | None = None


class AlreadyKept(ValueError):
    """Another daemon keeps a command under this name."""


class Daemon:
    """Keep one command running. ``folder`` holds its status, and the lock that makes it the only one."""

    def __init__(self, folder: Path, command: Sequence[str], policy: Policy) -> None:
        self.folder, self.command, self.policy = folder, list(command), policy
        self.stopping, self.noting = threading.Event(), threading.Lock()
        self.status = Status(WAITING, "", self.command, time.time())

    def keep(self, log: logging.Handler, environ: Mapping[str, str]) -> Status:
        """Run until the command succeeds, is told to stop, or fails too often; the last status.

        Raises AlreadyKept if another daemon does.
        """
        with locked(self.folder):
            clear(self.folder)
            record(self.folder, DAEMON, os.getpid())
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.stopping.set())
            failed: list[float] = []  # when
            in_a_row = 0
            while True:
                began = time.time()
                code = self._once(log, environ)
                healthy = time.time() - began >= self.policy.healthy or code == host.STOPPED
                in_a_row = 1 if healthy else in_a_row + 1
                failed = [when for when in failed if when > time.time() - self.policy.window]
                failed += [] if healthy else [time.time()]
                end = self._verdict(code, len(failed))
                if end is not None:
                    return self._note(*end, last_exit=code)
                pause = self.policy.wait(in_a_row)
                self._note(WAITING, f"starts again in {pause:g} s after exit code {code}", last_exit=code)
                if self.stopping.wait(pause):
                    return self._note(STOPPED, "told to stop")
                self.status = replace(self.status, restarts=self.status.restarts + 1)

    def _verdict(self, code: int, num_failed: int) -> tuple[str, str] | None:
        """How it ends, and why; None if it goes on."""
        if self.stopping.is_set():
            return STOPPED, "told to stop"
        if code == 0:
            return FINISHED, "the command ended by itself, with exit code 0"
        if code == host.MISTAKE:
            return GAVE_UP, "exit code 2: something must be put right first, see the log"
        if num_failed >= self.policy.failures:
            return (
                GAVE_UP,
                f"{num_failed} failures within {self.policy.window:g} s, the last with exit code {code}",
            )
        return None

    def _once(self, log: logging.Handler, environ: Mapping[str, str]) -> int:
        """Run the command once, in a session of its own, its output going to ``log``; its exit code."""
        child = subprocess.Popen(
            self.command,
            env={**environ, KEPT_BY: json.dumps(asdict(look_up(DAEMON, os.getpid())))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: host.die_with_parent(signal.SIGTERM),  # nobody would keep it, so let it save
            text=True,
            errors="replace",
        )
        self._note(RUNNING, "")
        reader = threading.Thread(target=self._copy, args=(child.stdout, log), daemon=True)
        reader.start()
        while child.poll() is None:
            if self.stopping.wait(0.2):
                self._end(child)
        reader.join(timeout=5)  # what it left behind may hold on to the pipe
        return child.returncode

    def _end(self, child: subprocess.Popen) -> None:
        """Tell the command to stop, and kill it and all that it started if it does not in time."""
        everybody = descendants(os.getpid())
        child.send_signal(signal.SIGTERM)
        end, ended = time.monotonic() + self.policy.grace, False
        while left(everybody) and time.monotonic() < end:
            if not ended and child.poll() is not None:  # for what it has not ended itself there is less time
                end, ended = time.monotonic() + ORPHANS, True
            time.sleep(0.1)
        for pid, ticks in left(everybody).items():
            send(pid, ticks, signal.SIGKILL)
        child.wait()

    def _copy(self, lines: IO[str], log: logging.Handler) -> None:
        """Until the pipe ends, come what may: nobody else reads it, and a full one would halt the command.

        A handler swallows what goes wrong with its own file.
        """
        for line in lines:
            log.emit(logging.makeLogRecord({"msg": line.rstrip("\n")}))
            found = STEP.search(line)
            if found:
                with self.noting:
                    self.status = replace(self.status, last_step=int(found[1] or found[2]))
                    self._write()

    def _note(self, state: str, reason: str, **changes: int | None) -> Status:
        with self.noting:
            since = self.status.since if state == self.status.state else time.time()
            self.status = replace(self.status, state=state, reason=reason, since=since, **changes)
            self._write()
            return self.status

    def _write(self) -> None:
        """What is told of a command must not end it: on a full disk the last status that fitted stays."""
        with suppress(OSError):
            write_status(self.folder, self.status)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which the system lets go of when this process dies. Raises AlreadyKept."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyKept(kept_already(folder)) from None
        yield


def kept_already(folder: Path) -> str:
    """Why no second daemon may start, and what to do if the first is one of another node."""
    hosts = elsewhere(folder)
    if keeper(folder) is None and hosts:
        return (
            f"{folder.name}: a daemon on {', '.join(hosts)} keeps it already in {folder.parent}: "
            "say RETRACKER_DAEMONS=<another one on each node>"
        )
    return f"{folder.name}: a daemon keeps it already (status and stop know it)"


def elsewhere(folder: Path) -> list[str]:
    """Other hosts whose daemons have left their records in a folder."""
    return sorted({each.host for each in records(folder) if each.role == DAEMON and each.state == ELSEWHERE})


def write_status(folder: Path, status: Status) -> None:
    unfinished = folder / "status.part"
    unfinished.write_text(json.dumps(asdict(status), indent=2) + "\n")
    unfinished.replace(folder / "status.json")


def read_status(folder: Path) -> Status:
    """What is known of a kept command. Raises ValueError where nobody has kept one under this name."""
    path = folder / "status.json"
    if not path.is_file():
        known = ", ".join(sorted(each.parent.name for each in folder.parent.glob("*/status.json"))) or "none"
        raise ValueError(f"{folder.name}: no daemon has kept anything of that name (known: {known})")
    return Status(**json.loads(path.read_text()))


def keeper(folder: Path) -> Record | None:
    """The daemon that keeps a command, if it is alive."""
    return next((each for each in records(folder) if each.role == DAEMON and each.state == ALIVE), None)
