"""When memory runs out: what to lower, in which order, and where it stands now."""

import re
from collections.abc import Mapping

import torch

SAYINGS = (
    "out of memory",
    "can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
ACCUMULATE = "trainer.accumulate_grad_batches"
# What costs memory, dearest first, and the keys that it stands under.
STEPS = (
    ("clips at a time", r"data\.batch_size"),
    ("clip length", r"data\.(train\..+|window)\.num_frames"),
    ("points", r"data\.(train\..+|pairing|transform\..+)\.num_points|module\.supervision\.num_anchors"),
    ("image size", r"data\.(train\..+|transform\..+)\.size"),
)
RECOMPUTE = r"recompute\..+"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error of a GPU's allocator, of the CPU's, or of Python says that memory is at an end."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAYINGS)


def memory_advice(error: BaseException, settings: Mapping[str, object]) -> str:
    """One sentence: what happened, and what to lower; ``settings`` are the configuration's dotted keys."""
    what = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    steps = [_lower(name, pattern, settings) for name, pattern in STEPS]
    if less := _standing(RECOMPUTE, settings):
        steps.append(f"what is kept for the backward pass: set {', '.join(less)} above 0")
    listed = "; ".join(f"{n}. {step}" for n, step in enumerate(filter(None, steps), start=1))
    return f"out of memory: {what.rstrip('.')}. Lower, in this order, until it fits: {listed}"


def _lower(name: str, pattern: str, settings: Mapping[str, object]) -> str:
    found = _standing(pattern, settings, least=2)
    if not found:
        return ""
    if name == STEPS[0][0]:
        now = settings.get(ACCUMULATE, 1)
        return f"{', '.join(found)}, and raise {ACCUMULATE} (now {now}) as much: the global batch stays"
    return f"{name}: {', '.join(found)}"


def _standing(pattern: str, settings: Mapping[str, object], least: int = 0) -> list[str]:
    """The keys that fit, with their values; numbers below ``least`` cannot be lowered."""
    return [
        f"{key} (now {value})"
        for key, value in settings.items()
        if re.fullmatch(pattern, key)
        and not isinstance(value, bool | str | None)
        and (not isinstance(value, int | float) or value >= least)
    ]
