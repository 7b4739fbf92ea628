"""What could end a run an hour after its start, looked at before it: each check says one sentence."""

import ctypes
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from retracker.host import free_space, nearest

OK, WARNING, FAILURE = "ok", "warning", "FAILURE"
GIGABYTE, MEGABYTE = 2**30, 2**20
FREE_SHARE = 0.9  # of a GPU's memory: less is free where somebody else computes, too
BYTES_PER_PARAMETER = 16  # fp32 weights, their average, and Adam's two moments
SHARED_PER_PROCESS = 256 * MEGABYTE  # of /dev/shm, through which data workers hand over their batches
SHARED_AT_LEAST = 96 * MEGABYTE  # Docker gives 64 unless it is told otherwise
BF16_CAPABILITY = (8, 0)  # Ampere: A100 and later


@dataclass(frozen=True)
class Finding:
    """What one check has to say; a FAILURE keeps the run from starting."""

    check: str
    level: str
    told: str


@dataclass(frozen=True)
class Plan:
    """What is about to run on this machine."""

    output_dir: Path
    num_processes: int  # on this machine
    num_workers: int  # of data, for each process
    num_parameters: int
    precision: str
    on_gpu: bool  # there is one, and it is not refused by accelerator=cpu
    wants_gpu: bool  # there must be one
    num_checkpoints: int = 5  # that lie there at a time: the last ones, the best, and one being written
    own_gpu: int | None = None  # where other processes look at the other ones


def machine(plan: Plan) -> Iterator[Finding]:
    """Everything that one machine can tell by itself."""
    yield from gpus(plan)
    yield driver(torch.version.cuda, supported_cuda())
    if plan.on_gpu:
        yield arithmetic(plan.precision, torch.cuda.get_device_capability(), torch.cuda.get_arch_list())
    yield writable(plan.output_dir)
    yield disk(plan, free_space(plan.output_dir))
    yield shared_memory(plan, Path("/dev/shm"))
    yield backend(on_gpu=plan.on_gpu)


def gpus(plan: Plan) -> Iterator[Finding]:
    """Each GPU that is seen; are there as many as processes, and is their memory free?"""
    found = torch.cuda.device_count() if plan.on_gpu else 0
    if not found:
        level = FAILURE if plan.wants_gpu else OK
        yield Finding("GPU", level, "none is visible" + (
            ": trainer=ddp and trainer=gpu need one; leave them out to train on the CPU" if plan.wants_gpu
            else ": training runs on the CPU"
        ))  # fmt: skip
    elif plan.num_processes > found:
        yield Finding(
            "GPU",
            FAILURE,
            f"{plan.num_processes} processes on this machine, and {found} GPUs visible to each: "
            "one process per GPU; under SLURM ask for --gpus-per-node, not --gpus-per-task",
        )
    for index in range(found) if plan.own_gpu is None else range(found)[plan.own_gpu : plan.own_gpu + 1]:
        free, total = torch.cuda.mem_get_info(index)
        told = f"{index}: {torch.cuda.get_device_name(index)}, {gigabytes(free)} of {gigabytes(total)} free"
        busy = free < FREE_SHARE * total
        yield Finding("GPU", WARNING if busy else OK, told + (": somebody else is using it" if busy else ""))


def driver(built_for: str | None, supported: tuple[int, int] | None) -> Finding:
    """Whether the driver knows the CUDA that torch was built for; within a major version any does."""
    if built_for is None:
        return Finding("driver", OK, f"torch {torch.__version__} computes on CPUs only")
    if supported is None:
        return Finding("driver", OK, f"none is installed; torch is built for CUDA {built_for}")
    told = f"torch is built for CUDA {built_for}, the driver supports up to {supported[0]}.{supported[1]}"
    if supported[0] < int(built_for.split(".")[0]):
        return Finding(
            "driver", FAILURE, f"{told}: install a newer driver, or a torch built for CUDA {supported[0]}"
        )
    return Finding("driver", OK, told)


def supported_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the installed driver supports; None without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    version = ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def arithmetic(precision: str, capability: tuple[int, int], built_for: list[str]) -> Finding:
    """Whether the GPU can run torch's kernels at all, and bf16 in hardware."""
    own = "sm_{}{}".format(*capability)
    majors = {name.rpartition("_")[2].rstrip("af")[:-1] for name in built_for}
    if str(capability[0]) not in majors:
        known = ", ".join(built_for)
        return Finding(
            "GPU kernels", FAILURE, f"this torch has none for {own} (only {known}): install another"
        )
    if "bf16" in precision and capability < BF16_CAPABILITY:
        return Finding(
            "GPU kernels",
            WARNING,
            f"{own} has no bf16 and only imitates it: trainer.precision=32-true is quicker",
        )
    return Finding("GPU kernels", OK, f"{own}, precision {precision}")


def writable(folder: Path) -> Finding:
    """Whether files can be made where outputs go."""
    try:
        with tempfile.NamedTemporaryFile(dir=nearest(folder)):
            return Finding("outputs", OK, str(folder.resolve()))
    except OSError as error:
        return Finding(
            "outputs",
            FAILURE,
            f"{folder}: nothing can be written there ({error.strerror}): "
            "say RETRACKER_OUTPUTS=<a folder of yours>",
        )


def disk(plan: Plan, free: int) -> Finding:
    """Whether all checkpoints of a net of this size fit beside one another.

    Those that a run has left which goes on now will make room for the new ones.
    """
    one = BYTES_PER_PARAMETER * plan.num_parameters
    there = sum(path.stat().st_size for path in plan.output_dir.glob("checkpoints/*.ckpt"))
    needed = max(one, plan.num_checkpoints * one - there)
    told = f"{gigabytes(free)} free, checkpoints of {gigabytes(one)}, {plan.num_checkpoints} at a time"
    told += f", {gigabytes(there)} of them there" if there else ""
    if free < needed:
        return Finding(
            "disk",
            FAILURE,
            f"{plan.output_dir}: {told}: make room, or say RETRACKER_OUTPUTS=<a folder with room>",
        )
    scarce = free < 2 * needed + GIGABYTE
    return Finding("disk", WARNING if scarce else OK, told + (": that is scarce" if scarce else ""))


def shared_memory(plan: Plan, folder: Path) -> Finding:
    """Whether data workers can hand over their batches."""
    if not plan.num_workers or not folder.is_dir():
        return Finding("shared memory", OK, "not needed: no data workers")
    statistics = os.statvfs(folder)
    free, wanted = statistics.f_bavail * statistics.f_frsize, plan.num_processes * SHARED_PER_PROCESS
    told = f"{gigabytes(free)} free in {folder} for {plan.num_processes} x {plan.num_workers} data workers"
    if free < SHARED_AT_LEAST:
        return Finding(
            "shared memory",
            FAILURE,
            f"{told}: give containers more (docker --ipc=host or --shm-size=8g), or say data.num_workers=0",
        )
    if free < wanted:
        return Finding("shared memory", WARNING, f"{told}: {gigabytes(wanted)} would be safe")
    return Finding("shared memory", OK, told)


def backend(*, on_gpu: bool) -> Finding:
    """What processes would talk through."""
    distributed = torch.distributed
    if on_gpu and not distributed.is_nccl_available():
        return Finding("backend", FAILURE, "this torch has no NCCL: install one with it, as pip's for Linux")
    if on_gpu:
        return Finding("backend", OK, "NCCL " + ".".join(map(str, torch.cuda.nccl.version())))
    return Finding("backend", OK, "gloo")


def gigabytes(number: int) -> str:
    return f"{number / GIGABYTE:.1f} GB" if number >= GIGABYTE else f"{number / MEGABYTE:.0f} MB"
