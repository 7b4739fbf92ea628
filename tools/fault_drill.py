"""python tools/fault_drill.py [--faults 20] [--seed 0] [--out drill] [--table FILE.md]: does a run survive?

Trains the smallest real configuration on two processes twice: once undisturbed, and once while it is hit by
faults at random moments and started again whenever it is down. Then the clips that each process learnt from,
step by step, and the final weights, averages and optimiser must be those of the undisturbed run, bit by bit,
and no checkpoint may ever have been unreadable. Prints what happened as a table; exit code 1 if that fails.
"""

import argparse
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from elastic_job import Job, gone, send
from rich.console import Console

from retracker.checkpoint import read_torch, verify
from retracker.checkpoint_files import newest_first
from retracker.configuration import RunFailed, run_command
from retracker.training.trace import steps_that_count

STEPS_PER_FAULT = 8
DISK = 2**20  # bytes that a file may have while the disk is "full"
SAID_FULL = "the checkpoint could not be written"
RESUMED = "resume=auto: "
COLUMNS = ("#", "fault", "in step", "went on from", "steps again", "seconds to the next step", "verdict")


@dataclass(frozen=True)
class Row:
    """What one fault did."""

    number: int
    fault: str
    step: int  # that was under way
    source: str
    again: int  # steps that were begun before and had to be taken again
    seconds: float
    verdict: str


class Drill:
    """Hit a job by faults, one after the other, and see whether it goes on as the undisturbed one went."""

    def __init__(self, job: Job, undisturbed: Job, rng: random.Random) -> None:
        self.job, self.undisturbed, self.rng = job, undisturbed, rng

    def hit(self, number: int, fault: str) -> Row:
        """Do one thing to the job once it has gone a few steps, and wait until it learns again."""
        job, since = self.job, self._start() + self.rng.randint(2, STEPS_PER_FAULT - 1)
        job.wait(lambda: self._step() >= since, f"step {since}")
        time.sleep(self.rng.uniform(0.0, 0.5))
        step, starts, said = self._step(), self._num_starts(), len(job.log)
        if job.agent.poll() == 0:
            raise RunFailed(f"the run was over before fault {number}: more steps are needed")
        begun = time.time()
        damaged = FAULTS[fault](job, self.rng)
        if fault != FULL:
            job.wait(lambda: self._num_starts() > starts, "a new start")
        job.wait(lambda: job.trace[-1].get("step", 0) and job.trace[-1]["time"] > begun, "another step")
        seconds = time.time() - begun
        start = self._start() if self._num_starts() > starts else step
        source = f"{resumed_from(job.log[said:])} (step {start})" if fault != FULL else "it went on"
        verdict = "; ".join(self._complaints(damaged)) or "exact"
        return Row(number, fault, step, source, max(0, step - start), round(seconds, 1), verdict)

    def finish(self) -> list[str]:
        """Let the job come to its end; what is not as in the undisturbed run then."""
        self.job.wait(lambda: False, "the end")
        ends = [read_torch(job.checkpoints / "last.ckpt") for job in (self.job, self.undisturbed)]
        parts = ("state_dict", "ema_state_dict", "optimizer_states", "lr_schedulers", "global_step")
        differ = [part for part in parts if not same(ends[0][part], ends[1][part])]
        missing = [r for r in (0, 1) if len(self._counted(self.job, r)) != self.job.total_steps]
        return [
            *self._complaints(None),
            *(f"{part} of the end differs" for part in differ),
            *(f"rank {rank} did not take each step" for rank in missing),
        ]

    def _complaints(self, damaged: Path | None) -> list[str]:
        """What is wrong with the checkpoints there are, and with the stream so far."""
        said = []
        for path in sorted(self.job.checkpoints.glob("*.ckpt")):
            try:
                verify(path)
                read_torch(path)
            except FileNotFoundError:  # replaced meanwhile
                continue
            except ValueError as error:
                said += [] if path == damaged else [str(error)]
        for rank in (0, 1):
            whole = self._counted(self.undisturbed, rank)
            steps = self._counted(self.job, rank)
            wrong = [step for step, clips in steps.items() if whole[step] != clips]
            gaps = set(range(1, max(steps, default=0) + 1)) - steps.keys()
            said += [f"rank {rank}: other clips in steps {wrong}"] if wrong else []
            said += [f"rank {rank}: no steps {sorted(gaps)}"] if gaps else []
        return said

    def _counted(self, job: Job, rank: int) -> dict[int, list[str]]:
        return steps_that_count(job.out / "trace" / f"rank{rank}.jsonl")

    def _num_starts(self) -> int:
        return sum("start" in line for line in self.job.trace)

    def _start(self) -> int:
        return next((line["start"] for line in reversed(self.job.trace) if "start" in line), 0)

    def _step(self) -> int:
        trace = self.job.trace
        return trace[-1].get("step", 0) if trace else 0


def same(one: object, other: object) -> bool:
    """Whether nested containers hold the same numbers, bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def resumed_from(log: str) -> str:
    """The name of the last file that a start said it goes on from."""
    said = [line.partition(RESUMED)[2] for line in log.splitlines() if RESUMED in line]
    named = [words for words in said if not words.startswith("passed over")]
    return Path(named[-1]).name if named and named[-1].endswith(".ckpt") else "nothing"


# Each fault is done to a running job; what it returns, if anything, are files that it damaged.


def kill_worker(job: Job, rng: random.Random) -> None:
    send(rng.choice(job.ranks()), signal.SIGKILL)


def kill_agent(job: Job, rng: random.Random) -> None:  # noqa: ARG001  all faults are called alike
    ranks = job.ranks()
    send(job.agent.pid, signal.SIGKILL)
    job.agent.wait()
    gone(ranks)


def terminate_all(job: Job, rng: random.Random) -> None:  # noqa: ARG001
    for pid in (job.agent.pid, *job.ranks(), *job.data_workers()):
        send(pid, signal.SIGTERM)


def warn_one(job: Job, rng: random.Random) -> None:
    send(rng.choice(job.ranks()), signal.SIGUSR1)


def fill_disk(job: Job, rng: random.Random) -> None:  # noqa: ARG001
    """No file of the process that saves may grow, until it has said that it could not save."""
    rank, before = job.ranks()[0], job.log.count(SAID_FULL)
    resource.prlimit(rank, resource.RLIMIT_FSIZE, (DISK, resource.RLIM_INFINITY))
    job.wait(lambda: job.log.count(SAID_FULL) > before, "a failed save")
    resource.prlimit(rank, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def newest(job: Job) -> Path:
    """End everything, and name the newest of the last checkpoints (last.ckpt, unless it was put aside)."""
    job.kill()
    return next(path for path in newest_first(job.checkpoints) if path.name.startswith("last"))


def truncate(job: Job, rng: random.Random) -> Path:
    path = newest(job)
    os.truncate(path, rng.randrange(path.stat().st_size))
    return path


def flip_byte(job: Job, rng: random.Random) -> Path:
    path = newest(job)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path


def kill_data_worker(job: Job, rng: random.Random) -> None:
    send(rng.choice(job.data_workers()), signal.SIGKILL)


def stop_rank(job: Job, rng: random.Random) -> None:
    send(rng.choice(job.ranks()), signal.SIGSTOP)


FAULTS = {
    "SIGKILL to a worker": kill_worker,
    "SIGTERM to all": terminate_all,
    "newest checkpoint truncated while down": truncate,
    "SIGSTOP of one rank": stop_rank,
    "SIGKILL to the agent": kill_agent,
    "disk full while saving": fill_disk,
    "SIGKILL to a data worker": kill_data_worker,
    "SIGUSR1 to one rank": warn_one,
    "a bit of the newest checkpoint flipped while down": flip_byte,
}

FULL = "disk full while saving"


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines_ = [COLUMNS, ("---",) * len(COLUMNS), *(astuple(row) for row in rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines_)


def run(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("drill"))
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    args = parser.parse_args(arguments)
    if args.out.exists():
        raise ValueError(f"{args.out}: is there already; name another folder, or remove it")
    console, rng = Console(soft_wrap=True, highlight=False), random.Random(args.seed)
    total_steps = STEPS_PER_FAULT * args.faults
    jobs = [Job(args.out.resolve() / name, total_steps) for name in ("undisturbed", "hit")]
    order = [
        name for _ in range(0, args.faults, len(FAULTS)) for name in rng.sample(list(FAULTS), len(FAULTS))
    ]
    rows, drill = [], Drill(jobs[1], jobs[0], rng)
    try:
        jobs[0].wait(lambda: False, "the end of the undisturbed run")
        for number, fault in enumerate(order[: args.faults], start=1):
            rows.append(drill.hit(number, fault))
            console.print(" | ".join(map(str, astuple(rows[-1]))))
        wrong = [*drill.finish(), *(row.verdict for row in rows if row.verdict != "exact")]
    finally:
        for job in jobs:
            job.kill()
        if args.table is not None:
            args.table.write_text(markdown(rows))
    console.print(markdown(rows))
    if wrong:
        raise RunFailed("; ".join(wrong))
    console.print(
        f"{total_steps} steps, {len(rows)} faults, {jobs[1].starts} starts of torchrun: stream, weights, "
        "averages and optimiser are those of the undisturbed run, bit by bit"
    )


if __name__ == "__main__":
    sys.exit(run_command(run))
