"""End exactly the processes of one run: those that it recorded, and what they started."""

import os
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from retracker.launch.processes import AGENT, ALIVE, DAEMON, TRAIN, Record, descendants, records, start_ticks

POLL = 0.2  # s
LAST = 10  # s: what is killed in the middle of a disk access takes its time
FROM_THE_TOP = (DAEMON, AGENT, TRAIN)  # each hands a SIGTERM on to those below


def end(run: Path, wait: float | int) -> tuple[list[Record], dict[int, int]]:
    """Have a run save and stop, and kill what is left after ``wait`` seconds: whom it found, whom it killed.

    A second SIGTERM would interrupt torchrun while it waits for its processes to save: only the uppermost
    get one.
    """
    found = [each for each in records(run) if each.state == ALIVE]
    everybody = family(found)
    if wait > 0:
        for pid in uppermost(found):
            send(pid, everybody[pid], signal.SIGTERM)
    deadline = time.monotonic() + wait
    while left(everybody) and time.monotonic() < deadline:
        time.sleep(POLL)
        everybody |= family(each for each in found if each.state == ALIVE)  # what came after the first look
    killed = left(everybody)
    for pid in (*[each.pid for each in in_order(found) if each.pid in killed], *killed):
        send(pid, everybody[pid], signal.SIGKILL)
    deadline = time.monotonic() + LAST
    while left(killed) and time.monotonic() < deadline:
        time.sleep(POLL)
    return found, killed


def uppermost(found: Sequence[Record]) -> list[int]:
    """The processes of a run that none of its others has started."""
    below: set[int] = set()
    top = []
    for each in in_order(found):
        if each.pid not in below:
            top.append(each.pid)
        below |= descendants(each.pid).keys()
    return top


def in_order(found: Iterable[Record]) -> list[Record]:
    """Those first that would start others again."""
    return sorted(found, key=lambda each: (FROM_THE_TOP.index(each.role), each.rank))


def family(found: Iterable[Record]) -> dict[int, int]:
    """Recorded processes and all below them, as {pid: start ticks}."""
    members: dict[int, int] = {}
    for each in found:
        members |= {each.pid: each.start_ticks} | descendants(each.pid)
    return members


def left(members: Mapping[int, int]) -> dict[int, int]:
    """Who of them still runs."""
    return {pid: ticks for pid, ticks in members.items() if start_ticks(pid) == ticks}


def send(pid: int, ticks: int, number: signal.Signals) -> bool:
    """Signal one process, and never another that got its number meanwhile; whether it was there."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if start_ticks(pid) != ticks:  # asked while the handle holds on to whoever has the number now
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True
