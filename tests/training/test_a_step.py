# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What happens inside a step: where the host would wait for a GPU, and what is computed in half precision."""

from collections import Counter

import pytest
import pytorch_lightning as pl
import torch
from test_training_run import disturbed_run
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FULL_PRECISION = (
    "_softmax",
    "_log_softmax",
    "logsumexp",
    "smooth_l1_loss",
    "binary_cross_entropy_with_logits",
)
STEP = ("ckpt=tiny", "total_steps=3", "trainer.accumulate_grad_batches=2", "trainer.log_every_n_steps=3")


class Operations(TorchDispatchMode):
    """Count operations by name and by the types of the floating-point numbers they are given."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        name = function.__name__.split(".")[0]
        self.counts.update({(name, x.dtype) for x in tensors if x.is_floating_point()})
        return function(*args, **(kwargs or {}))


class Waits(TorchFunctionMode):
    """Count the calls whose outcome, or its size, the host must know: on a GPU it waits for that."""

    NAMES = {
        "item",
        "tolist",
        "__bool__",
        "__int__",
        "__float__",
        "__index__",
        "nonzero",
        "cpu",
        "numpy",
        "equal",
    }

    def __init__(self, counters):
        super().__init__()
        self.counters, self.num = counters, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", "")
        mask = len(args) > 1 and isinstance(args[1], torch.Tensor) and args[1].dtype == torch.bool
        # AdamW counts steps on the CPU, one count for each parameter.
        if (name in self.NAMES or (name == "__getitem__" and mask)) and id(args[0]) not in self.counters:
            self.num += 1
        return function(*args, **(kwargs or {}))


class Watch(pl.Callback):
    """Note the operations and waits of each batch."""

    def __init__(self):
        self.operations, self.waits, self.losses = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        counters = {id(state["step"]) for state in trainer.optimizers[0].state.values()}
        self.operations.append(Operations().__enter__())
        self.waits.append(Waits(counters).__enter__())

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.waits[-1].__exit__(None, None, None)
        self.operations[-1].__exit__(None, None, None)
        self.losses.append(float(outputs["loss"]))


def watched(directory, *overrides):
    watch = Watch()
    with pytest.MonkeyPatch.context() as patch:
        disturbed_run(directory, patch, watch, *STEP, *overrides)
    return watch


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return watched(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return watched(tmp_path_factory.mktemp("mixed"), "trainer.precision=bf16-mixed")


def test_the_host_waits_once_for_each_batch_and_once_for_each_step(full):
    """For who is born when, and for whether all is finite; in a step that is logged for more."""
    found = [batch.num for batch in full.waits]
    assert found[2:4] == [1, 2] and found[5] > 2  # the second step of three; only the third is logged


def test_in_mixed_precision_layers_are_in_half_and_coordinates_logits_and_losses_in_full(mixed):
    counts = sum((batch.counts for batch in mixed.operations), Counter())
    assert counts["addmm", torch.bfloat16] > 0 and counts["convolution", torch.bfloat16] > 0
    for name in FULL_PRECISION:
        dtypes = {dtype for (operation, dtype), _ in counts.items() if operation == name}
        assert dtypes == {torch.float32}, name


def test_mixed_precision_learns_from_nearly_the_same_losses(full, mixed):
    assert len(full.losses) == 6
    assert mixed.losses == pytest.approx(full.losses, rel=0.1)
