"""Where a contestant runs."""

import os

import torch


def device_of(name: str) -> torch.device:
    """The device of that name; "auto" is this process's GPU, if there is one, else the CPU.

    Raises ValueError if it cannot be used here.
    """
    if name == "auto":
        if not torch.cuda.is_available():
            return torch.device("cpu")
        process = int(os.environ.get("LOCAL_RANK", "0"))  # torchrun's number of a process on this machine
        return torch.device("cuda", process % torch.cuda.device_count())
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device: {name!r} cannot be used here; try device=cpu") from error
    return torch.device(name)
