"""Where the time of a process goes, phase by phase, on the clock of the host and on that of its GPU."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from pytorch_lightning.profilers import Profiler

ON_DEVICE = ("forward_backward", "optimiser")  # queued by the host: only the GPU knows how long they take
KEPT = 4096  # marks, before they are added up without being asked for


class Mark(NamedTuple):
    """When a phase began."""

    phase: str
    host: float  # s
    device: torch.cuda.Event | None


class Timeline:
    """What lies between two marks belongs to the phase of the first.

    On a GPU, computing is timed by events in its stream, which cost no synchronisation until ``take``.
    """

    def __init__(self, device: torch.device, phase: str) -> None:
        self.on_gpu = device.type == "cuda"
        self._seconds: dict[str, float] = {}
        self._marks = [self._mark(phase)]

    def enter(self, phase: str) -> None:
        """From now on it is ``phase``."""
        self._marks.append(self._mark(phase))
        if len(self._marks) > KEPT:
            self._add_up()

    def take(self) -> dict[str, float]:
        """Seconds in each phase since this was last asked, and the same phase goes on."""
        self.enter(self._marks[-1].phase)
        self._add_up()
        taken, self._seconds = self._seconds, {}
        return taken

    def _mark(self, phase: str) -> Mark:
        event = None
        if self.on_gpu:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
        return Mark(phase, time.perf_counter(), event)

    def _add_up(self) -> None:
        if self.on_gpu:
            self._marks[-1].device.synchronize()
        for begun, ended in zip(self._marks, self._marks[1:], strict=False):
            self._seconds[begun.phase] = self._seconds.get(begun.phase, 0.0) + lasted(begun, ended)
        self._marks = self._marks[-1:]


def lasted(begun: Mark, ended: Mark) -> float:
    """Seconds from one mark to the next: the GPU's where it computes, else the host's."""
    if begun.phase in ON_DEVICE and begun.device is not None:
        return begun.device.elapsed_time(ended.device) / 1000  # ms
    return ended.host - begun.host


class FetchListener(Profiler):
    """Hand all on to another profiler, and say when training begins to wait for a batch, and has it."""

    FETCH = "train_dataloader_next"  # at the end of Lightning's name for it

    def __init__(self, inner: Profiler, begins: Callable[[], None], ends: Callable[[], None]) -> None:
        super().__init__(dirpath=inner.dirpath, filename=inner.filename)
        self.inner, self._begins, self._ends = inner, begins, ends

    def start(self, action_name: str) -> None:
        self.inner.start(action_name)
        if action_name.endswith(self.FETCH):
            self._begins()

    def stop(self, action_name: str) -> None:
        if action_name.endswith(self.FETCH):
            self._ends()
        self.inner.stop(action_name)

    def setup(self, stage: str, local_rank: int | None = None, log_dir: str | None = None) -> None:
        self.inner.setup(stage, local_rank, log_dir)

    def describe(self) -> None:
        self.inner.describe()

    def summary(self) -> str:
        return self.inner.summary()

    def teardown(self, stage: str | None) -> None:
        self.inner.teardown(stage)
