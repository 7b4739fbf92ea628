"""The machine, and how processes end on it: what every room may ask, with Python's standard library alone."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

# Exit codes. Only MISTAKE says that to start again will not help before somebody has changed something.
FAILURE = 1  # it broke off
MISTAKE = 2  # of the user's: one line says what
HUNG = 70  # the watchdog ended it
STOPPED = 75  # it was told to stop and has saved (EX_TEMPFAIL of sysexits.h: try again later)

PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
PATIENCE = 10  # s: git on a slow network drive must not hold up a run


def die_with_parent(number: signal.Signals) -> None:
    """Have this process get a signal when its parent dies, however it dies, where the system can do that.

    Else what is left of a killed run goes on, and writes where the next one does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def flush(path: Path) -> None:
    """Wait until what was written to a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def nearest(path: Path) -> Path:
    """The path, or what there is already of the way to it; that may be a file."""
    whole = path.resolve()
    return next(folder for folder in (whole, *whole.parents) if folder.exists())


def free_space(path: Path) -> int:
    """Bytes that this user can still write where ``path`` is or would be."""
    return shutil.disk_usage(nearest(path)).free


def revision(file: Path) -> dict[str, str | bool | None]:
    """The commit that ``file`` belongs to, and whether tracked files differ; None where git cannot say."""
    unknown = {"revision": None, "dirty": None}
    if git(file.parent, "ls-files", "--error-unmatch", str(file)) is None:
        return unknown  # a package installed inside somebody else's repository is no part of it
    commit, changes = git(file.parent, "rev-parse", "HEAD"), git(file.parent, "status", "--porcelain", "-uno")
    return {"revision": commit, "dirty": None if changes is None else changes != ""}


def git(folder: Path, *arguments: str) -> str | None:
    """What git answers; None if there is no git, no repository, or no answer in time."""
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
