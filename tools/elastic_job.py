"""A small elastic training of two processes that a drill hits and starts again; part of fault_drill.py."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from retracker.configuration import RunFailed
from retracker.training.trace import lines

PATIENCE = 400  # s until a run must have gone on
SETTING = (
    *("+experiment=tracking", "pretrained=none", "logger=csv", "~callbacks.pictures", "resume=auto"),
    *("trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp", "trainer.limit_val_batches=1"),
    *("trainer.val_check_interval=7", "data.batch_size=1", "data.num_workers=1"),
    *(
        "data.train.synthetic.size=64",
        "data.train.synthetic.num_frames=4",
        "data.train.synthetic.num_points=5",
    ),
    *("data.val.size=64", "data.val.num_frames=4", "data.val.length=2"),
    *("callbacks.checkpoints.every_n_steps=5", "callbacks.progress.every_n_steps=1000"),
    *("callbacks.watchdog.timeout_s=15", "callbacks.watchdog.slow_timeout_s=60"),
    "+callbacks.trace._target_=retracker.training.trace.StreamTrace",
)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RETRACKER_DATE": "drill",
    # Else the processes of a restart read in the store where those before them could be reached.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


class Job:
    """An elastic run of two processes that writes to ``out``, started again whenever it is down."""

    def __init__(self, out: Path, total_steps: int) -> None:
        self.out, self.total_steps = out, total_steps
        self.agent: subprocess.Popen | None = None
        self.starts = 0
        out.mkdir(parents=True)

    @property
    def log(self) -> str:
        return (self.out / "job.log").read_text(errors="replace")

    @property
    def checkpoints(self) -> Path:
        return self.out / "checkpoints"

    @property
    def trace(self) -> list[dict]:
        return lines(self.out / "trace" / "rank0.jsonl")

    def start(self) -> None:
        """Start torchrun on a port of its own; it restarts its workers a few times itself."""
        torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3"]
        places = [f"paths.output_dir={self.out}", f"+callbacks.trace.directory={self.out / 'trace'}"]
        with (self.out / "job.log").open("a") as log:
            self.agent = subprocess.Popen(
                [sys.executable, "-m", *torchrun, "-m", "retracker.train", *SETTING, *places]
                + [f"total_steps={self.total_steps}"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ENVIRONMENT,
            )
        self.starts += 1

    def keep_up(self) -> bool:
        """Start it if it is down; True once it has come to its end."""
        if self.agent is None or self.agent.poll() not in (None, 0):
            self.start()
        return self.agent.poll() == 0

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Keep the job up until something is so, or until it has come to its end."""
        end = time.monotonic() + PATIENCE
        while not until():
            if time.monotonic() > end:
                raise RunFailed(f"{what} did not happen in {PATIENCE} s: see {self.out / 'job.log'}")
            if self.keep_up():
                return
            time.sleep(0.05)

    def ranks(self) -> list[int]:
        """The processes of the ranks, in order."""
        found = {environment(pid).get("RANK"): pid for pid in children(self.agent.pid)}
        return [found[rank] for rank in ("0", "1") if rank in found]

    def data_workers(self) -> list[int]:
        """All forks of the ranks."""
        return [pid for rank in self.ranks() for pid in children(rank) if command(pid) == command(rank)]

    def kill(self) -> None:
        """End everything at once, as a power cut does."""
        if self.agent is None or self.agent.poll() is not None:
            return
        pids = [self.agent.pid, *self.ranks()]
        for pid in pids:
            send(pid, signal.SIGKILL)
        self.agent.wait()
        gone(pids)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def command(pid: int) -> bytes:
    path = Path(f"/proc/{pid}/cmdline")
    return path.read_bytes() if path.exists() else b""


def environment(pid: int) -> dict[str, str]:
    path = Path(f"/proc/{pid}/environ")
    entries = path.read_bytes().decode(errors="replace").split("\0") if path.exists() else []
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it was faster
        os.kill(pid, number)


def gone(pids: Sequence[int]) -> None:
    """Wait until nothing of a killed run can write any more."""
    end = time.monotonic() + PATIENCE
    while any(command(pid) for pid in pids):
        if time.monotonic() > end:
            raise RunFailed(f"processes {pids} outlive the agent that started them")
        time.sleep(0.02)
