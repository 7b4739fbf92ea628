"""Attention by any kernel is attention by the formula; a kernel that cannot run says so."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from retracker.models.layers import kernels
from retracker.models.layers.attention import Attention, choose_kernel, flash, full
from retracker.models.layers.kernels import attend, check, flash_attn_func

SIZES = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 4e-3}  # of values around 1
OF_GPUS = [
    *(
        (name, dtype)
        for name in ("flash", "cudnn", "flash_attn")
        for dtype in (torch.bfloat16, torch.float16)
    ),
    ("efficient", torch.float32),
    ("efficient", torch.bfloat16),
]


class Called(TorchDispatchMode):
    """The names of all operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.__name__)
        return function(*args, **(kwargs or {}))


def inputs(dtype, device="cpu", length=70):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 4, length, 32, generator=generator).to(device, dtype)
    return [part.detach().requires_grad_() for part in x.unbind(0)]


def answer(kernel, dtype, device="cpu"):
    """The result and its gradients."""
    given = inputs(dtype, device)
    found = attend(*given, None, kernel)
    found.float().square().sum().backward()
    return found, *(x.grad for x in given)


def formula(dtype, device="cpu"):
    q, k, v = given = [x.detach().float().requires_grad_() for x in inputs(dtype, device)]
    found = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1) @ v
    found.square().sum().backward()
    return found, *(x.grad for x in given)


def same(kernel, dtype, device="cpu"):
    for found, expected in zip(answer(kernel, dtype, device), formula(dtype, device), strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=SIZES[dtype], atol=SIZES[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["auto", "math", "flash"])
def test_on_cpus_each_kernel_is_the_formula(kernel, dtype):
    same(kernel, dtype)


@pytest.mark.gpu
@pytest.mark.parametrize(("kernel", "dtype"), OF_GPUS)
def test_on_gpus_each_kernel_is_the_formula(kernel, dtype):
    if kernel == "flash_attn" and flash_attn_func is None:
        pytest.skip("the package flash-attn is not installed")
    same(kernel, dtype, "cuda")


@pytest.mark.parametrize(("kernel", "mark"), [("math", "bmm"), ("flash", "flash_attention_for_cpu")])
def test_the_kernel_asked_for_is_the_one_that_computes(kernel, mark):
    with Called() as called:
        attend(*(x.detach() for x in inputs(torch.float32)), None, kernel)
    assert any(mark in name for name in called.names)
    assert any("flash" in name for name in called.names) == (kernel == "flash")


def test_a_net_answers_and_learns_the_same_by_the_kernel_it_is_told_to_use(net, batch):
    def learn(kernel):
        choose_kernel(net, kernel)
        net.zero_grad()
        with Called() as called:
            found = net(batch.video[:, :3], batch.queries)
        (found.tracks.mean() + found.frames[-1].cells.square().mean()).backward()
        gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
        return sum("flash" in name for name in called.names), found.frames[-1].cells.detach(), gradients

    assert len({name for name, m in net.named_modules() if isinstance(m, Attention)}) == 5
    (none, *by_formula), (some, *by_kernel) = learn("math"), learn("flash")
    assert none < some  # masked calls are torch's to decide
    torch.testing.assert_close(by_kernel, by_formula, atol=1e-4, rtol=1e-3)


def test_what_computes_is_no_part_of_the_net(net):
    before = net.state_dict().keys()
    choose_kernel(net, "math")
    assert net.state_dict().keys() == before


def test_a_mask_is_heeded_whatever_kernel_is_asked_for():
    q, k, v = (x.detach() for x in inputs(torch.float32))
    mask = torch.rand(2, 1, 1, 70, generator=torch.Generator().manual_seed(1)) < 0.5
    torch.testing.assert_close(attend(q, k, v, mask, "flash"), full(q, k, v, mask))
    assert not torch.allclose(attend(q, k, v, mask, "flash"), full(q, k, v, None))


def test_a_kernel_that_cannot_run_says_what_can(monkeypatch):
    if flash_attn_func is None:
        with pytest.raises(
            ValueError, match="'flash_attn' needs the package flash-attn .*'flash' is torch's"
        ):
            check("flash_attn", "cuda", torch.bfloat16)
    monkeypatch.setattr(kernels, "flash_attn_func", lambda *_: None)  # as if it were installed
    with pytest.raises(ValueError, match="'flash_attn' runs on GPUs; on CPUs choose"):
        check("flash_attn", "cpu", torch.bfloat16)
    with pytest.raises(ValueError, match="'efficient' runs on GPUs; on CPUs choose from auto, math, flash"):
        check("efficient", "cpu", torch.float32)
    with pytest.raises(ValueError, match="half precision on GPUs, got torch.float32: say trainer.precision"):
        check("cudnn", "cuda", torch.float32)
    with pytest.raises(ValueError, match="'fast' is unknown; choose from auto, math, flash"):
        check("fast", "cpu", torch.float32)
    check("efficient", "cuda", torch.float32)


def test_the_back_end_flash_of_older_checkpoints_computes_in_full_precision_by_what_there_is():
    q, k, v = (x.detach() for x in inputs(torch.float32))
    torch.testing.assert_close(flash(q, k, v, None), full(q, k, v, None))
