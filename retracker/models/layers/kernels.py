"""Which kernel computes soft-max attention: the same formula, at other speeds and on other devices."""

from types import MappingProxyType

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

try:
    from flash_attn import flash_attn_func
except ImportError:  # an option on GPUs; only who asks for it needs it
    flash_attn_func = None

AUTO, PACKAGE = "auto", "flash_attn"
OF_TORCH = MappingProxyType(
    {
        "math": SDPBackend.MATH,
        "flash": SDPBackend.FLASH_ATTENTION,
        "efficient": SDPBackend.EFFICIENT_ATTENTION,
        "cudnn": SDPBackend.CUDNN_ATTENTION,
    }
)
KERNELS = (AUTO, *OF_TORCH, PACKAGE)
ON_CPU = ("math", "flash")
HALF_ONLY = ("flash", "cudnn", PACKAGE)  # on GPUs


def attend(
    q: Float[Tensor, "B h L d"],
    k: Float[Tensor, "B h S d"],
    v: Float[Tensor, "B h S d"],
    mask: Bool[Tensor, "#B #h #L S"] | None,
    kernel: str,
) -> Float[Tensor, "B h L d"]:
    """Soft-max attention; ``mask`` is True where a query may look. Which kernel takes a mask torch decides.

    Raises ValueError where the kernel asked for cannot run.
    """
    if kernel == AUTO or mask is not None:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    check(kernel, q.device.type, q.dtype)
    if kernel == PACKAGE:
        return flash_attn_func(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)
    with sdpa_kernel(OF_TORCH[kernel]):
        return F.scaled_dot_product_attention(q, k, v)


def check(kernel: str, device: str, dtype: torch.dtype) -> None:
    """Raise ValueError unless a kernel is known, installed, and runs on a kind of device with this type."""
    check_known(kernel)
    if device == "cpu" and kernel not in (AUTO, *ON_CPU):
        raise ValueError(f"attention kernel {kernel!r} runs on GPUs; on CPUs choose from {AUTO}, math, flash")
    if device != "cpu" and kernel in HALF_ONLY and dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(
            f"attention kernel {kernel!r} computes in half precision on GPUs, got {dtype}: "
            f"say trainer.precision=bf16-mixed, or choose from {AUTO}, math, efficient"
        )


def check_known(kernel: str) -> None:
    """Raise ValueError for a name that is none, and for the package where it is not installed."""
    if kernel not in KERNELS:
        raise ValueError(f"attention kernel {kernel!r} is unknown; choose from {', '.join(KERNELS)}")
    if kernel == PACKAGE and flash_attn_func is None:
        raise ValueError(
            "attention kernel 'flash_attn' needs the package flash-attn (pip install flash-attn, on a "
            "machine with CUDA); 'flash' is torch's own kernel of the same algorithm"
        )
