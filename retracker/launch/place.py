"""What started this process (torchrun, a step of SLURM, or nobody), and what that means for the trainer."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_fabric.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from retracker.launch import DATE
from retracker.launch.processes import TICKS_PER_SECOND, boot_seconds, start_ticks

ALONE, ELASTIC, SLURM = "alone", "torchrun", "SLURM"
UNNAMED = "none"  # the run id of torchrun where none was given


@dataclass(frozen=True)
class Place:
    """One process among those of its run; alone, the trainer starts the others and ``world_size`` is 1."""

    launcher: str
    rank: int
    world_size: int
    num_nodes: int

    @property
    def local_size(self) -> int:
        """Processes on each node."""
        return self.world_size // self.num_nodes


def place(environ: Mapping[str, str]) -> Place:
    """What the environment says; raises ValueError where nodes differ in their number of processes."""
    if "TORCHELASTIC_RUN_ID" in environ:
        rank, size, nodes = (int(environ[name]) for name in ("RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE"))
        if int(environ["LOCAL_WORLD_SIZE"]) * nodes != size:
            raise ValueError(
                f"torchrun: {size} processes on {nodes} nodes, {environ['LOCAL_WORLD_SIZE']} of them "
                "here: say the same --nproc-per-node on each"
            )
        return Place(ELASTIC, rank, size, nodes)
    if not in_slurm_step(environ):
        return Place(ALONE, 0, 1, 1)
    size, nodes = int(environ["SLURM_NTASKS"]), int(environ.get("SLURM_NNODES", "1"))
    each = environ.get("SLURM_NTASKS_PER_NODE", "1")
    if int(each) * nodes != size:
        raise ValueError(
            f"SLURM: {size} tasks on {nodes} nodes: say --ntasks-per-node=<GPUs of a node>, and no --ntasks"
        )
    return Place(SLURM, int(environ["SLURM_PROCID"]), size, nodes)


def in_slurm_step(environ: Mapping[str, str]) -> bool:
    """Whether srun started this process to work with others: not in a batch script or a terminal."""
    terminal = environ.get("SLURM_JOB_NAME") in ("bash", "interactive")  # what Lightning takes for one
    return {"SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_PROCID"} <= environ.keys() and not terminal


def trainer_settings(environ: Mapping[str, str]) -> dict[str, object]:
    """Arguments of Lightning's trainer that the launcher decides; nothing where there is none."""
    here = place(environ)
    if here.launcher == ALONE:
        # Lightning would take the tasks that a batch script reserves for processes that somebody started.
        return {"plugins": [LightningEnvironment()]} if "SLURM_NTASKS" in environ else {}
    # Who requeues a job is its batch script: Lightning's own handlers would save a second, rival checkpoint.
    own = TorchElasticEnvironment() if here.launcher == ELASTIC else SLURMEnvironment(auto_requeue=False)
    return {"devices": here.local_size, "num_nodes": here.num_nodes, "plugins": [own]}


def run_id(environ: Mapping[str, str]) -> str | None:
    """What all processes and all restarts of a run agree on as its date; None where nobody gave it a name.

    Raises ValueError for torchrun on several nodes without a run id: each would write to its own folder.
    """
    if DATE in environ:
        return environ[DATE]
    named = environ.get("TORCHELASTIC_RUN_ID", UNNAMED)
    if named != UNNAMED:
        return re.sub(r"[^\w.-]", "_", named)
    if "TORCHELASTIC_RUN_ID" in environ and int(environ["GROUP_WORLD_SIZE"]) > 1:
        raise ValueError(
            f"torchrun: several nodes, and no name of the run: say --rdzv-id=NAME, or {DATE}=NAME on all"
        )
    if "TORCHELASTIC_RUN_ID" in environ:
        return _start_of_agent()
    return _job_step(environ) if in_slurm_step(environ) else None


def _job_step(environ: Mapping[str, str]) -> str:
    """The job, and which of its steps unless the first: a loop in a batch script is several trainings.

    Steps are counted anew when a job is queued again, so that each finds what it left.
    """
    job, step = environ["SLURM_JOB_ID"], environ["SLURM_STEP_ID"]
    if "SLURM_ARRAY_JOB_ID" in environ:
        job = f"{environ['SLURM_ARRAY_JOB_ID']}_{environ['SLURM_ARRAY_TASK_ID']}"
    return f"job{job}" + ("" if step == "0" else f"_step{step}")


def _start_of_agent() -> str:
    """When torchrun was started, which is the parent of all its processes, also of those it starts again."""
    ticks = start_ticks(os.getppid())
    if ticks is None:
        raise ValueError(f"torchrun: say --rdzv-id=NAME, or {DATE}=NAME: the run needs a name")
    seconds = boot_seconds() + ticks / TICKS_PER_SECOND
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(seconds))
