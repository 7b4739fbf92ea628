"""Who works on a run: each process leaves a record in the run's folder, by which it can be found again.

A pid alone says little, since numbers are used again: with the time it was started at (field 22 of
/proc/PID/stat), the boot and the host, it names one process for ever. Elsewhere than on Linux nothing is
recorded.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "processes"  # of a run's outputs
TRAIN, AGENT, DAEMON = "train", "torchrun", "daemon"
KEPT_BY = "RETRACKER_DAEMON"  # the environment variable in which a daemon tells its record to what it keeps
ALIVE, GONE, OTHER, ELSEWHERE = "alive", "gone", "gone, its number is another's", "on another host"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Record:
    """One process for ever. ``rank`` is that of training, -1 of others."""

    role: str
    rank: int
    pid: int
    start_ticks: int
    boot: str
    host: str
    command: str

    @property
    def state(self) -> str:
        """Whether the process still runs; only its own host can tell."""
        if self.host != socket.gethostname():
            return ELSEWHERE
        found = start_ticks(self.pid) if self.boot == boot_id() else None
        if found is None:
            return GONE
        return ALIVE if found == self.start_ticks else OTHER


@contextmanager
def recorded(run: Path, environ: Mapping[str, str], rank: int) -> Iterator[None]:
    """While this process trains, its record lies in ``run``, and those of torchrun and daemon that keep it.

    What died without taking its record along is cleared away by whoever comes next on that host. A daemon of
    another host (srun hands its variable on), or one that is not seen from in here (containers have numbers
    of their own), is not recorded: its number may be somebody else's.
    """
    if start_ticks(os.getpid()) is None:
        yield
        return
    clear(run)
    if "TORCHELASTIC_RUN_ID" in environ and start_ticks(os.getppid()) is not None:
        record(run, AGENT, os.getppid())
    daemon = parsed(environ.get(KEPT_BY, ""))
    if daemon is not None and daemon.state == ALIVE:
        write(run, daemon)
    own = record(run, TRAIN, os.getpid(), rank)
    try:
        yield
    finally:
        own.unlink(missing_ok=True)


def record(run: Path, role: str, pid: int, rank: int = -1) -> Path:
    """Note a process of this host, which must be there; the file's path."""
    return write(run, look_up(role, pid, rank))


def look_up(role: str, pid: int, rank: int = -1) -> Record:
    """The record of a process of this host, which must be there."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return Record(role, rank, pid, start_ticks(pid), boot_id(), socket.gethostname(), command)


def parsed(text: str) -> Record | None:
    """A record from its JSON; None if it is none."""
    try:
        return Record(**json.loads(text))
    except (TypeError, json.JSONDecodeError):
        return None


def write(run: Path, noted: Record) -> Path:
    """Leave a record in a run's folder, at once or not at all; the file's path."""
    path = run / FOLDER / f"{noted.host}_{noted.pid}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")  # ranks may note their agent at the same time
    unfinished.write_text(json.dumps(asdict(noted), indent=2) + "\n")
    unfinished.replace(path)
    return path


def records(run: Path) -> list[Record]:
    """What lies in a run's folder. Raises ValueError naming a file that is no record."""
    found = []
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            found.append(Record(**json.loads(path.read_text())))
        except FileNotFoundError:
            continue  # it has ended meanwhile
        except (TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}: not the record of a process: {error}") from error
    return found


def clear(run: Path) -> None:
    """Take away the records of processes of this host that are no more."""
    for old in records(run):
        if old.state in (GONE, OTHER):
            (run / FOLDER / f"{old.host}_{old.pid}.json").unlink(missing_ok=True)


def start_ticks(pid: int) -> int | None:
    """When a process was started, in clock ticks since the boot; None if there is none, or a dead one."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold anything; state is field 3
    return None if fields[0] in "ZX" else int(fields[19])


def descendants(pid: int) -> dict[int, int]:
    """The processes below one, as {pid: start ticks}: its children, theirs, and so on."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, fresh = set(), {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return {child: ticks for child in found if (ticks := start_ticks(child)) is not None}


def boot_id() -> str:
    """Differs from boot to boot of one machine; empty where nobody tells."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.is_file() else ""


def boot_seconds() -> int:
    """When this machine was booted, in seconds since 1970."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime"))
