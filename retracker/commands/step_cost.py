"""What one step of training costs, part by part: seconds, floating-point operations, memory."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim import Optimizer
from torch.utils.flop_counter import FlopCounterMode

from retracker.commands.net_parts import Probe, parts_of, watched
from retracker.train import build_data, build_module, set_up_process
from retracker.training.meters import MEGABYTE, peak_memory_mb
from retracker.training.net_module import NetModule
from retracker.types import TensorStruct

WARM_UP = 2  # steps: allocations, caches, kernels that are chosen


@dataclass(frozen=True)
class Rig:
    """A training without its loop: what a step needs, on one device."""

    module: NetModule
    optimizer: Optimizer
    device: torch.device
    half: bool  # bfloat16 where autocast sees fit
    clip: float
    clock: Probe  # s

    def now(self) -> float:
        """Seconds; all that was queued on a GPU is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.clock()


def measure(cfg: DictConfig, repeats: int, clock: Probe = time.perf_counter) -> dict[str, object]:
    """The costs of a step of the training that ``cfg`` describes: medians over ``repeats``, of data the mean.

    ``clock``: time.process_time counts the work of all threads, and not what others do on this machine.
    """
    set_up_process(cfg)
    rig = rig_of(cfg, clock)
    data = build_data(cfg)
    batches, data_seconds = draw(data, WARM_UP + repeats, clock)
    for batch in batches[:WARM_UP]:
        step(rig, batch.to(rig.device), rig.now)
    if rig.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(rig.device)
    timed = [step(rig, batch.to(rig.device), rig.now) for batch in batches[WARM_UP:]]
    seconds = {name: statistics.median(one.get(name, 0.0) for one in timed) for name in timed[-1]}
    whole, batch = [one["step"] for one in timed], batches[-1].to(rig.device)
    return {
        "setting": setting(rig, batch, data.batch_size),
        "seconds": {"data, one process": statistics.mean(data_seconds), **seconds},
        "spread": statistics.pstdev(whole) / statistics.mean(whole),
        "operations": operations(rig, batch),
        "memory": memory(rig, batch),
        "rates": {"clips per second": data.batch_size / seconds["step"]},
    }


def rig_of(cfg: DictConfig, clock: Probe) -> Rig:
    """The module of a configuration with random weights, which are as quick as any, and its optimiser."""
    on_gpu = torch.cuda.is_available() and cfg.trainer.accelerator in ("auto", "gpu", "cuda")
    device = torch.device("cuda" if on_gpu else "cpu")
    half = "bf16" in str(cfg.trainer.precision) or (on_gpu and cfg.trainer.precision == "auto")
    module = build_module(cfg, fresh=False).to(device).train()
    module.setup("fit")
    module.average.to(device)
    optimizer, _ = module.optimisation(module.net, cfg.data.batch_size)
    return Rig(module, optimizer, device, half, float(cfg.trainer.gradient_clip_val or 0.0), clock)


def draw(data: object, count: int, clock: Probe) -> tuple[list[TensorStruct], list[float]]:
    """Batches of the training stream, and the seconds that this process took to make each."""
    batches, seconds = [], []
    for index in range(count):
        started, size = clock(), data.batch_size
        batches.append(data.collate([data.stream[size * index + place] for place in range(size)]))
        seconds.append(clock() - started)
    return batches, seconds


def step(rig: Rig, batch: TensorStruct, probe: Probe) -> dict[str, float]:
    """What each part of one step spends of whatever ``probe`` reads."""
    module, spent = rig.module, {}
    began = probe()
    with watched([*parts_of(module.net), (module, "_loss", "loss")], probe, spent), autocast(rig):
        prediction, loss, _ = module.attempt(batch)
    spent["forward, rest"] = probe() - began - sum(v for name, v in spent.items() if "," not in name)
    charge(spent, "backward", probe, loss.backward)
    charge(spent, "optimiser", probe, lambda: update(rig))
    charge(spent, "average", probe, lambda: module.average.update(module.net))
    spent["step"] = probe() - began
    with torch.no_grad():
        charge(spent, "scores, at log steps", probe, lambda: module.training_scores(prediction, batch))
    return spent


def charge(spent: dict[str, float], name: str, probe: Probe, work: Callable[[], object]) -> None:
    before = probe()
    work()
    spent[name] = probe() - before


def update(rig: Rig) -> None:
    """Clip, step, and drop the gradients, as Lightning does."""
    if rig.clip:
        nn.utils.clip_grad_norm_(rig.module.net.parameters(), rig.clip)
    rig.optimizer.step()
    rig.optimizer.zero_grad(set_to_none=True)


def autocast(rig: Rig) -> torch.autocast:
    return torch.autocast(rig.device.type, torch.bfloat16, enabled=rig.half)


def operations(rig: Rig, batch: TensorStruct) -> dict[str, float]:
    """Floating-point operations of each part: those of matrices, convolutions and attention are known."""
    with FlopCounterMode(display=False) as counter:
        found = step(rig, batch, lambda: float(counter.get_total_flops()))
    return {name: value for name, value in found.items() if value}


def memory(rig: Rig, batch: TensorStruct) -> dict[str, float]:
    """MiB: the peak of the process or of the GPU, what the backward pass needs, and what is always there."""
    parameters = list(rig.module.net.parameters())
    learnt = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    fixed = (
        sum(p.numel() * p.element_size() for p in parameters) + 4 * learnt
    )  # gradient, Adam's two, average
    return {
        "peak MiB": peak_memory_mb(rig.device),
        "saved for backward MiB": saved_bytes(rig, batch) / MEGABYTE,
        "weights and optimiser MiB": fixed / MEGABYTE,
        "gradients to reduce MiB": learnt / MEGABYTE,
    }


def saved_bytes(rig: Rig, batch: TensorStruct) -> int:
    """What a forward pass keeps for the backward pass, beside the weights: each storage once."""
    own = {p.untyped_storage().data_ptr() for p in rig.module.net.parameters()}
    with keeping() as kept, autocast(rig):
        _, loss, _ = rig.module.attempt(batch)
        found = sum(size for place, size in kept.items() if place not in own)
        del loss
    return found


@contextmanager
def keeping() -> Iterator[Mapping[int, int]]:
    """{address: bytes} of the storages that autograd keeps meanwhile."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        yield kept


def setting(rig: Rig, batch: TensorStruct, batch_size: int) -> dict[str, object]:
    """What was measured, so that numbers are only compared with their like."""
    found = {
        "device": torch.cuda.get_device_name(rig.device) if rig.device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "clock": rig.clock.__name__,
        "precision": "bf16-mixed" if rig.half else "32-true",
        "batch": batch_size,
        "frames": rig.module.num_frames(batch),
        "parameters": sum(p.numel() for p in rig.module.net.parameters()),
    }
    if hasattr(batch, "tracks"):
        height, width = batch.video.shape[-2:]
        found |= {"points": batch.tracks.shape[2], "height": height, "width": width}
    return found
