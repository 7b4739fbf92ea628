"""python tools/memory_modes.py [--frames 8 16 24] [--size 256] [--set model=small]: memory for time.

What one training step (forward, loss, backward) takes in each way to keep less, for clips of each length.
"kept" is in use between forward and backward, "peak" the most at any time; the net and its gradients are in
neither. On a GPU torch.cuda tells both, and time passes on the wall. On a CPU all tensors are counted that
operations make, and time is the processor's, which does not depend on who else uses the machine.
"""

import argparse
import json
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from retracker.checkpoint import build_net
from retracker.types import Noise, Queries, VideoSample

CONFIGS = Path(__file__).parents[1] / "configs"
MIB = 2**20
MODES = {  # encode, follow: frames at a time, 0: all is kept; detach_after
    "keep all": (0, 0, 0),
    "detach_after=4": (0, 0, 4),
    "follow=1": (0, 1, 0),
    "follow=4": (0, 4, 0),
    "encode=4": (4, 0, 0),
    "encode=4 follow=1": (4, 1, 0),
    "encode=4 follow=4": (4, 4, 0),
}


def main(argv: list[str] | None = None) -> int:
    """Measure every mode and length, and print a table; returns the exit code."""
    arguments = parse(argv)
    if arguments.one is not None:
        sys.stdout.write(json.dumps(measure(arguments, *arguments.one)) + "\n")
        return 0
    for frames in arguments.frames:
        found = {mode: in_a_process(arguments, mode, frames) for mode in arguments.modes}
        show(arguments, frames, found)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 24])
    parser.add_argument("--size", type=int, default=256, help="px, a side of the square frames")
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="clips")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--steps", type=int, default=3, help="of which the quickest counts")
    parser.add_argument("--bf16", action="store_true", help="in mixed precision")
    parser.add_argument("--set", nargs="*", default=[], help="overrides of python -m retracker.train")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)  # mode, frames: this very process
    return parser.parse_args(argv)


def in_a_process(arguments: argparse.Namespace, mode: str, frames: int) -> dict[str, float]:
    """One mode's numbers; memory that a process has once had it keeps, so that each has its own."""
    told = [f"--{name}={getattr(arguments, name)}" for name in ("size", "points", "batch", "steps")]
    told += ["--bf16"] * arguments.bf16 + ["--set", *arguments.set, "--one", mode, str(frames)]
    done = subprocess.run([sys.executable, __file__, *told], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace, mode: str, frames: str) -> dict[str, float]:
    """MiB and seconds of a step."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("train", overrides=arguments.set)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = build_net(OmegaConf.to_container(cfg.model, resolve=True)).to(device)
    encode, follow, net.detach_after = MODES[mode]
    net.recompute(encode=encode, follow=follow)
    loss = instantiate(cfg.module.loss, _convert_="all")
    truth = clip(arguments, int(frames)).to(device)
    seconds = [
        timed(lambda: step(net, loss, truth, bf16=arguments.bf16), device) for _ in range(arguments.steps)
    ]
    kept, peak = in_use(
        net, lambda between: step(net, loss, truth, bf16=arguments.bf16, between=between), device
    )
    return {"kept": kept / MIB, "peak": peak / MIB, "seconds": min(seconds)}


def timed(work: Callable[[], None], device: torch.device) -> float:
    """Seconds."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begun = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - begun


def in_use(net: nn.Module, work: Callable[[Callable], None], device: torch.device) -> tuple[int, int]:
    """Bytes that are in use between forward and backward, and the most, without the net and its gradients."""
    kept: list[int] = []
    own = sum(x.nbytes for p in net.parameters() for x in (p, p.grad) if x is not None)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        work(lambda: kept.append(torch.cuda.memory_allocated(device)))
        return kept[0] - own, torch.cuda.max_memory_allocated(device) - own
    with Live() as live:
        work(lambda: kept.append(live.now))
    return kept[0], live.most


class Live(TorchDispatchMode):
    """How many bytes of what operations have made are in use now, and at most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known = WeakIdKeyDictionary()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for value in tree_leaves(made):
            if isinstance(value, torch.Tensor) and value.untyped_storage() not in self._known:
                storage = value.untyped_storage()
                self._known[storage] = True
                self._count(storage.nbytes())
                weakref.finalize(storage, self._count, -storage.nbytes())
        return made

    def _count(self, num_bytes: int) -> None:
        self.now += num_bytes
        self.most = max(self.most, self.now)


def step(
    net: nn.Module, loss: nn.Module, truth: VideoSample, *, bf16: bool, between: Callable = lambda: None
) -> None:
    """Forward and backward."""
    net.zero_grad(set_to_none=False)
    with torch.autocast(truth.video.device.type, torch.bfloat16, enabled=bf16):
        prediction = net(truth.video, truth.queries, noise=truth.noise, seen=truth.visible)
    total, _ = loss(prediction, truth, 0)
    between()
    total.backward()


def clip(arguments: argparse.Namespace, frames: int) -> VideoSample:
    """Random frames and tracks: memory and time do not depend on what is seen."""
    generator = torch.Generator().manual_seed(0)
    shape = (arguments.batch, frames, arguments.points)
    size = (arguments.batch, frames, 3, arguments.size, arguments.size)
    tracks = torch.rand(*shape, 2, generator=generator) * arguments.size
    known = torch.ones(shape, dtype=torch.bool)
    return VideoSample(
        video=torch.randint(0, 256, size, dtype=torch.uint8, generator=generator),
        queries=Queries(xy=tracks[:, 0], frame=torch.zeros(shape[0], shape[2], dtype=torch.long)),
        tracks=tracks,
        visible=known,
        labelled=known,
        located=known,
        name=("random",) * arguments.batch,
        noise=Noise(
            choice=torch.rand(shape, generator=generator),
            jitter=torch.randn(*shape, 2, generator=generator),
            drop=torch.rand(shape, generator=generator),
        ),
    )


def show(arguments: argparse.Namespace, frames: int, found: dict[str, dict[str, float]]) -> None:
    """Print the modes of clips of one length beside the first of them."""
    first = next(iter(found.values()))
    title = f"{frames} frames of {arguments.size} px, {arguments.points} points, batch {arguments.batch}"
    table = Table("mode", "kept MiB", "peak MiB", "", "s a step", "", title=" ".join([title, *arguments.set]))
    for mode, numbers in found.items():
        peak, seconds = numbers["peak"] / first["peak"], numbers["seconds"] / first["seconds"]
        row = (f"{numbers['kept']:.0f}", f"{numbers['peak']:.0f}", f"{peak:.2f}", f"{numbers['seconds']:.2f}")
        table.add_row(mode, *row, f"{seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
