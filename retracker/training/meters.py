# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""Meters of a training: how fast all ranks are together, what they wait for, and the memory they use."""

import resource
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import Profiler

from retracker.training.timeline import FetchListener, Timeline

MEGABYTE = 2**20
PROC = Path("/proc")
PHASES = ("data", "forward_backward", "optimiser", "validation", "saving")
NOT_TRAINING = ("validation", "saving")
COUNTED = ("clips", "frames", "steps", "seconds", "peak_mb", "resident_mb", "workers_mb")


class Throughput(pl.Callback):
    """At each log step, log speed, where the time went, learning rates and memory, over all ranks.

    ``speed``: clips and frames a second of all ranks together, and ``data_wait``, the share of its time that
    the rank worst off waited for its next batch; validation and saving are not in it. ``time``: seconds a
    step of the slowest rank, and its parts as means over ranks (validation and saving spread over the steps
    since they were last written). ``memory``: the most of any rank, in MiB. Stands behind the callback that
    saves: saving ends where this one is called next.
    """

    def __init__(self) -> None:
        self._timeline: Timeline | None = None
        self._profiler: Profiler | None = None
        self._clips = self._frames = self._steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._timeline = Timeline(pl_module.device, "other")
        self._clips = self._frames = self._steps = 0
        self._profiler = trainer.profiler
        trainer.profiler = FetchListener(
            self._profiler, lambda: self._timeline.enter("data"), lambda: self._timeline.enter("other")
        )

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self._timeline.enter("forward_backward")

    def on_after_backward(self, trainer, pl_module) -> None:
        self._timeline.enter("optimiser")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer) -> None:
        if (trainer.global_step + 1) % trainer.log_every_n_steps == 0:
            log_rates(pl_module, optimizer)  # of this step: at its end the schedule has moved on

    def on_validation_start(self, trainer, pl_module) -> None:
        if self._timeline is not None:
            self._timeline.enter("validation")

    def on_save_checkpoint(self, trainer, pl_module, checkpoint) -> None:
        if self._timeline is not None:
            self._timeline.enter("saving")

    def on_validation_end(self, trainer, pl_module) -> None:
        if self._timeline is not None:
            self._timeline.enter("other")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self._timeline.enter("other")
        self._clips += pl_module.batch_length(batch)
        self._frames += pl_module.batch_length(batch) * pl_module.num_frames(batch)
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self._steps += 1
        if trainer.global_step % trainer.log_every_n_steps == 0:
            pl_module.log_dict(over_ranks(pl_module, self._take(pl_module.device)))

    def on_train_end(self, trainer, pl_module) -> None:
        self._let_go(trainer)

    def on_exception(self, trainer, pl_module, exception) -> None:
        self._let_go(trainer)

    def _let_go(self, trainer: pl.Trainer) -> None:
        if self._profiler is not None:
            trainer.profiler = self._profiler
        self._profiler = self._timeline = None

    def _take(self, device: torch.device) -> dict[str, float | int]:
        """What this rank has measured since it was last asked."""
        seconds = self._timeline.take()
        found = {name: seconds.get(name, 0.0) for name in PHASES}
        outside = sum(found[name] for name in NOT_TRAINING)
        found |= {"clips": self._clips, "frames": self._frames, "steps": self._steps}
        found |= {"seconds": sum(seconds.values()) - outside, "peak_mb": peak_memory_mb(device)}
        found |= {"resident_mb": resident_mb("self"), "workers_mb": sum(map(resident_mb, children()))}
        self._clips = self._frames = self._steps = 0
        return found


def over_ranks(pl_module: pl.LightningModule, found: dict[str, float | int]) -> dict[str, torch.Tensor]:
    """What all ranks have measured, by the names it is logged by. To be called on all ranks."""
    names = (*PHASES, *COUNTED)
    own = torch.tensor([found[name] for name in names], device=pl_module.device)
    ranks = dict(zip(names, pl_module.all_gather(own).reshape(-1, len(names)).cpu().T, strict=True))
    seconds, steps = ranks["seconds"].max(), ranks["steps"].max()
    return {
        "speed/clips_per_second": ranks["clips"].sum() / seconds,
        "speed/frames_per_second": ranks["frames"].sum() / seconds,
        "speed/data_wait": (ranks["data"] / ranks["seconds"]).max(),
        "speed/memory_mb": ranks["peak_mb"].max(),
        "memory/process_mb": ranks["resident_mb"].max(),
        "memory/workers_mb": ranks["workers_mb"].max(),
        "time/step": seconds / steps,
        **{f"time/{name}": ranks[name].mean() / steps for name in PHASES},
    }


def log_rates(pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
    """The learning rate, and where backbones are trained, too, theirs."""
    rates = sorted({group["lr"] for group in optimizer.param_groups})
    pl_module.log("lr", max(rates))
    if len(rates) > 1:
        pl_module.log("lr_pretrained", min(rates))


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    return peak / (MEGABYTE if sys.platform == "darwin" else 1024)


def resident_mb(process: str) -> float:
    """What a process holds in memory now; 0 where the system does not tell, or the process is gone."""
    try:
        return int((PROC / process / "statm").read_text().split()[1]) * resource.getpagesize() / MEGABYTE
    except OSError:
        return 0.0


def children() -> list[str]:
    """The processes that this one has started, such as those that load data (Linux)."""
    try:
        return [pid for task in (PROC / "self/task").iterdir() for pid in read_words(task / "children")]
    except OSError:
        return []


def read_words(path: Path) -> list[str]:
    return path.read_text().split()
