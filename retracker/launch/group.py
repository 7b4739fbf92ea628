"""A real collective before training starts: all processes meet, and compare what they run."""

import importlib.metadata
import os
import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from lightning_fabric.plugins.environments import SLURMEnvironment
from torch import distributed

from retracker import host
from retracker.launch.place import ELASTIC, Place

COMPARED = ("torch", "pytorch-lightning", "hydra-core", "numpy", "kornia", "timm", "nvidia-nccl-cu13")
# One per step of a job, beside those of Lightning's own choice (15000 to 24999) and those at which torchrun's
# agents meet (scripts/train_elastic.sh: 28500 to 31999).
MEETING_PORTS = range(25000, 28500)
UNKNOWN = "unknown"  # the revision, where there is no checkout, or no git
SHOWN = 12  # digits of a commit
MAX_SKEW = 5.0  # s between clocks: what is newest in a folder is judged by times


class GroupFault(RuntimeError):
    """The processes of a run did not find one another, or cannot add up a number together."""


@dataclass(frozen=True)
class Facts:
    """What one process tells the others of itself."""

    host: str
    clock: float | int
    revision: str
    versions: Mapping[str, str]


def facts() -> Facts:
    """Of this process; its clock is read last."""
    versions = {}
    for name in COMPARED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return Facts(host=socket.gethostname(), revision=revision(), versions=versions, clock=time.time())


def revision() -> str:
    """The commit of this checkout, marked if files differ; "unknown" where git tells nothing in time."""
    found = host.revision(Path(__file__))
    if found["revision"] is None:
        return UNKNOWN
    return found["revision"][:SHOWN] + (" with changes" if found["dirty"] else "")


def differences(told: Sequence[Facts]) -> list[str]:
    """One sentence for each thing in which a host differs from the first."""
    first, faults = told[0], []
    for other in {facts.host: facts for facts in told[1:]}.values():
        if UNKNOWN not in (other.revision, first.revision) and other.revision != first.revision:
            faults.append(
                f"{other.host} runs revision {other.revision}, {first.host} {first.revision}: "
                "check out one and the same on all nodes"
            )
        wrong = [
            f"{name} {version} (not {first.versions[name]})"
            for name, version in other.versions.items()
            if version != first.versions[name]
        ]
        if wrong:
            faults.append(
                f"{other.host} has {', '.join(wrong)}: install requirements_a100.txt on all nodes alike"
            )
    return faults


def skew(told: Sequence[Facts]) -> float | int:
    """Seconds between the clocks that differ most."""
    clocks = [facts.clock for facts in told]
    return max(clocks) - min(clocks)


def meet(here: Place, environ: Mapping[str, str], seconds: int, *, on_gpu: bool) -> list[Facts]:
    """Meet the processes that torchrun or SLURM started beside this one: what each tells, by rank."""
    device = own_device(
        int(environ["LOCAL_RANK" if here.launcher == ELASTIC else "SLURM_LOCALID"]), on_gpu=on_gpu
    )
    timeout = timedelta(seconds=seconds)
    try:
        store = meeting_place(here, environ, timeout)
        return add_up(store, here.rank, here.world_size, device, timeout)
    except (distributed.DistError, RuntimeError) as error:
        raise GroupFault(
            f"rank {here.rank} on {socket.gethostname()} could not add up a number with the "
            f"{here.world_size - 1} other processes within {seconds} s ({first_line(error)}): check that "
            "all nodes reach each other on every port; NCCL_SOCKET_IFNAME=<network> chooses one of several"
        ) from error


def meeting_place(here: Place, environ: Mapping[str, str], timeout: timedelta) -> distributed.Store:
    """A store that all know: of torchrun's agent, or on the job's first node."""
    if here.launcher == ELASTIC:
        agents = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        host, port, own = environ["MASTER_ADDR"], int(environ["MASTER_PORT"]), not agents and here.rank == 0
    else:
        first = SLURMEnvironment.resolve_root_node_address(environ.get("SLURM_NODELIST", "127.0.0.1"))
        host, own = environ.get("MASTER_ADDR", first), here.rank == 0
        step = int(environ["SLURM_JOB_ID"]) + int(environ.get("SLURM_STEP_ID", "0"))
        port = MEETING_PORTS[step % len(MEETING_PORTS)]  # below those that systems give away
    store = distributed.TCPStore(host, port, is_master=own, timeout=timeout, wait_for_workers=False)
    # Training will use the same store of an agent: under other names.
    return distributed.PrefixStore(f"checks/{environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)


def meet_own(num_processes: int, seconds: int, *, on_gpu: bool) -> list[Facts]:
    """The same among processes of this machine alone, which are started for it and ended."""
    with tempfile.TemporaryDirectory() as folder:
        context = torch.multiprocessing.start_processes(
            meet_in_folder,
            args=(num_processes, folder, seconds, on_gpu),
            nprocs=num_processes,
            join=False,
            start_method="spawn" if on_gpu else "fork",  # CUDA does not survive a fork
        )
        deadline = time.monotonic() + 2 * seconds
        try:
            while not context.join(timeout=1):
                if time.monotonic() > deadline:
                    raise GroupFault(f"{num_processes} processes of this machine did not meet in time")
        except (
            torch.multiprocessing.ProcessRaisedException,
            torch.multiprocessing.ProcessExitedException,
        ) as error:
            raise GroupFault(
                f"{num_processes} processes of this machine cannot add up a number together: "
                f"{str(error).strip().splitlines()[-1]} (NCCL_DEBUG=INFO says more)"
            ) from error
        finally:
            for process in context.processes:
                process.kill()
        return [facts()]


def meet_in_folder(rank: int, size: int, folder: str, seconds: int, on_gpu: bool) -> None:
    store = distributed.FileStore(os.path.join(folder, "store"), size)
    add_up(store, rank, size, own_device(rank, on_gpu=on_gpu), timedelta(seconds=seconds))


def own_device(local_rank: int, *, on_gpu: bool) -> torch.device:
    return torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")


def add_up(
    store: distributed.Store, rank: int, size: int, device: torch.device, timeout: timedelta
) -> list[Facts]:
    """One all-reduce over the backend that training will use, and what every process tells of itself.

    Raises RuntimeError if it takes too long, or the sum is wrong.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    try:
        numbers = torch.full((2**20,), rank + 1.0, device=device)
        distributed.all_reduce(numbers, async_op=True).wait(timeout)
        expected = size * (size + 1) / 2
        if not (numbers == expected).all():
            raise RuntimeError(f"the sum over ranks is {float(numbers[0])}, not {expected}")
        told: list[Facts] = [facts()] * size
        distributed.all_gather_object(told, facts())
        return told
    finally:
        distributed.destroy_process_group()


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
