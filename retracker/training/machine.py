"""Where and with what a training runs: packages, processor, memory, GPUs. Nothing here may fail."""

import os
import platform
import re
import socket
from importlib.metadata import distributions
from pathlib import Path

import torch

GIGABYTE = 1e9
DRIVER = Path("/proc/driver/nvidia/version")
JOB = (  # what schedulers tell a process about itself
    *("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_NODELIST"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
)


def packages() -> dict[str, str]:
    """Every installed package and its version, Python and CUDA's libraries among them."""
    found = {part.metadata["Name"]: part.version for part in distributions() if part.metadata["Name"]}
    built = {"python": platform.python_version(), "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        built["cudnn"] = str(torch.backends.cudnn.version())
        built["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
    return {name: version for name, version in (built | dict(sorted(found.items()))).items() if version}


def hardware() -> dict[str, object]:
    """This machine: its name, system, processor, cores that this process may use, memory, GPUs and driver."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "cpu": first_match(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)") or platform.processor(),
        "cores": cores,
        "memory_gb": memory_gb(),
        "gpus": gpus(),
        "driver": first_match(DRIVER, r"Kernel Module\s+(?:for \S+\s+)?(\S+)"),
    }


def gpus() -> list[dict[str, object]]:
    """Name and memory of each GPU that this process sees."""
    if not torch.cuda.is_available():
        return []
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [{"name": gpu.name, "memory_gb": round(gpu.total_memory / GIGABYTE, 1)} for gpu in found]


def memory_gb() -> float | None:
    """What the machine has; less if this process may not use all of it (cgroup v2)."""
    total = first_match(Path("/proc/meminfo"), r"MemTotal:\s*(\d+) kB")
    limit = first_match(Path("/sys/fs/cgroup/memory.max"), r"(\d+)")
    known = ([1024 * int(total)] if total else []) + ([int(limit)] if limit else [])
    return round(min(known) / GIGABYTE, 1) if known else None


def job() -> dict[str, str]:
    """What the scheduler or the elastic agent calls this job."""
    return {name: os.environ[name] for name in JOB if name in os.environ}


def first_match(file: Path, pattern: str) -> str | None:
    """What the first group of ``pattern`` finds in a file; None if nothing, or there is no such file."""
    try:
        found = re.search(pattern, file.read_text())
    except OSError:
        return None
    return found and found[1].strip()
