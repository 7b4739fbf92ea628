"""End the processes of one run and no other: python tools/kill_process.py RUN_DIR [--list|--now] [--wait S].

RUN_DIR is the folder of a run's outputs, in which each process leaves pid, start time and host. They are
told to save and stop; what still runs after --wait seconds is killed, data workers included. A record whose
process is gone, or whose number belongs to another process now, is left alone. Exit code 1 if there are
records of other hosts: run it there, too.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from retracker.configuration import run_command
from retracker.launch.ending import end, in_order
from retracker.launch.processes import ELSEWHERE, FOLDER, Record, descendants, records

WAIT = 120  # s: a checkpoint of a large net on a slow file system


def main(argv: Sequence[str] | None = None) -> int:
    """List or end; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--list", action="store_true", help="only say who there is")
    parser.add_argument("--now", action="store_true", help="kill at once: what is not saved is lost")
    parser.add_argument("--wait", type=float, default=WAIT, help="seconds to save and stop in")
    arguments = parser.parse_args(words)
    if not (arguments.run_dir / FOLDER).is_dir():
        raise ValueError(
            f"{arguments.run_dir}: no run has left records there: expected {arguments.run_dir / FOLDER}"
        )
    known = in_order(records(arguments.run_dir))
    if arguments.list:
        sys.stdout.write(table(known))
        return
    found, killed = end(arguments.run_dir, 0 if arguments.now else arguments.wait)
    sys.stdout.write("".join(f"{told(each, killed)}\n" for each in in_order(found)))
    orphans = len(set(killed) - {each.pid for each in found})
    sys.stdout.write(f"{len(found)} processes ended, {orphans} of their children had to be killed\n")
    elsewhere = sorted({each.host for each in known if each.state == ELSEWHERE})
    if elsewhere:
        sys.stderr.write(f"others run, or ran, on {', '.join(elsewhere)}: say the same there\n")
        sys.exit(1)


def told(each: Record, killed: dict[int, int]) -> str:
    how = "killed" if each.pid in killed else "stopped"
    return f"{each.role} {named(each)}pid {each.pid}: {how}"


def table(known: Sequence[Record]) -> str:
    """One line for each record."""
    lines = [
        f"{each.role:<9}{named(each):<8}{each.host} pid {each.pid}: {each.state}, "
        f"{len(descendants(each.pid)) if each.state == 'alive' else 0} below it"
        for each in known
    ]
    return "\n".join([*lines, f"{len(lines)} records", ""])


def named(each: Record) -> str:
    return f"rank {each.rank} " if each.rank >= 0 else ""


if __name__ == "__main__":
    sys.exit(main())
