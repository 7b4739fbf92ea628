"""How a process behaves that only reads data for another, and what became of it."""

import multiprocessing
import signal
from collections.abc import Iterable, Sized

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from retracker.host import die_with_parent

LAST = 120  # s: as long as any cluster waits between its warning and the end
NOWHERE = -1
ADVICE = {
    signal.SIGKILL: "most likely the machine ran out of memory: lower data.num_workers or data.batch_size",
    signal.SIGBUS: "most likely /dev/shm is full: make it larger (docker run --shm-size=8g), or lower "
    "data.num_workers or data.batch_size",
    signal.SIGSEGV: "most likely a decoder failed on a damaged file: data.num_workers=0 shows which",
}


def settle(_: int) -> None:
    """One thread to each worker, and none ends at once when a cluster warns the whole process group.

    There are as many workers as cores to spare, and the main process is the one that saves and stops. When
    it exits it sends the same signal to workers that are left, and waits for them: so they end some time.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)  # 0: in the caller's own thread
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST))
    die_with_parent(signal.SIGKILL)


class Noted(Dataset):
    """A data set of which it is known what each worker reads, even of one that was killed."""

    def __init__(self, source: Dataset, label: str, num_workers: int) -> None:
        self.source, self.label = source, label
        shared = multiprocessing.get_context("spawn")
        self.reading = shared.Array("q", [NOWHERE] * max(1, num_workers), lock=False)

    def __getitem__(self, index: int) -> object:
        worker = get_worker_info()
        if worker is None:
            return self.source[index]
        self.reading[worker.id] = index
        sample = self.source[index]
        self.reading[worker.id] = NOWHERE
        return sample


class NotedWithEnd(Noted):
    """The same of a data set that has an end."""

    def __len__(self) -> int:
        return len(self.source)


def noted(source: Dataset, label: str, num_workers: int) -> Noted:
    """``source``, called ``label`` in messages."""
    return (NotedWithEnd if isinstance(source, Sized) else Noted)(source, label, num_workers)


def obituary(loaders: Iterable[DataLoader], rank: int) -> str:
    """One sentence on each worker that died without being asked to; nothing if all live."""
    said = []
    for loader in loaders:
        for number, worker in enumerate(getattr(loader._iterator, "_workers", ())):
            if worker.exitcode in (None, 0):
                continue
            end, advice = _end(worker.exitcode)
            index = loader.dataset.reading[number]
            doing = "between two samples" if index == NOWHERE else f"while reading sample {index}"
            now = f"data.num_workers is {loader.num_workers}, data.batch_size {loader.batch_size}"
            who = f"data worker {number} of rank {rank} (pid {worker.pid})"
            said.append(f"{who} {end} {doing} of {loader.dataset.label}; {advice} ({now})")
    return "; ".join(said)


def _end(exitcode: int) -> tuple[str, str]:
    """How a process ended, and what is to be done about it."""
    if exitcode > 0:
        return f"ended with exit code {exitcode}", "data.num_workers=0 shows why"
    number = signal.Signals(-exitcode)
    return f"was killed by {number.name}", ADVICE.get(number, "whoever sent that knows why")
