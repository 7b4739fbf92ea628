"""python tools/benchmark_booster.py [--keypoints 2000] [--threads 2]: how long boosting an image takes.

Beside the time that passed stands the time its threads computed: on a busy machine only the latter compares.
The weights are random, which costs the same as trained ones.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

from retracker.models.booster_presets import PRESETS, Preset
from retracker.models.descriptor import boost, build_booster
from retracker.types import LocalFeatures

SIZE = (480, 640)
WARM_UP = 3


def main(argv: list[str] | None = None) -> int:
    """Measure every preset and print a table; returns the exit code."""
    arguments = parse(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.device != "cpu" and not torch.cuda.is_available():
        sys.stderr.write("benchmark_booster: torch sees no such device\n")
        return 2
    unknown = set(arguments.presets) - set(PRESETS)
    if unknown:
        sys.stderr.write(f"benchmark_booster: expected some of {', '.join(PRESETS)}, got {min(unknown)!r}\n")
        return 2
    title = f"{arguments.keypoints} keypoints, {arguments.threads} threads, {arguments.device}, ms"
    table = Table("network", "parameters", "fastest", "median", "computing (median)", title=title)
    for name in arguments.presets or PRESETS:
        net = build_booster(
            name, keypoint_encoder=True, cross_boosting=True, attention=arguments.attention, dropout=0.0
        )
        net = net.eval().to(arguments.device)
        found = features(PRESETS[name], arguments.keypoints).to(arguments.device)
        passed, computed = timed(lambda net=net, found=found: boost(net, found), arguments.repeats)
        figures = (min(passed), statistics.median(passed), statistics.median(computed))
        parameters = sum(p.numel() for p in net.parameters())
        table.add_row(name, f"{parameters:,}", *(f"{1000 * seconds:.1f}" for seconds in figures))
    Console().print(table)
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("presets", nargs="*", help="names of networks (default: all)")
    parser.add_argument("--keypoints", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--attention", choices=("aft", "mha"), default="aft")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(argv)


def features(preset: Preset, num: int) -> LocalFeatures:
    """Features of an image as the preset reads them, of random content."""
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.randn(num, preset.channels, generator=generator)
    return LocalFeatures(
        xy=torch.rand(num, 2, generator=generator) * torch.tensor(SIZE).flip(0),
        geometry=torch.rand(num, preset.keypoint_size - 2, generator=generator),
        descriptors=torch.nn.functional.normalize(descriptors, dim=-1),
        present=torch.ones(num, dtype=torch.bool),
        size=torch.tensor(SIZE),
    )


def timed(action: Callable[[], torch.Tensor], repeats: int) -> tuple[list[float], list[float]]:
    """Seconds that each run took, by the clock and by the processor."""
    passed, computed = [], []
    with torch.inference_mode():
        for _ in range(WARM_UP):
            action()
        for _ in range(repeats):
            clock, processor = time.perf_counter(), time.process_time()
            action().sum().item()  # waits for a GPU
            passed.append(time.perf_counter() - clock)
            computed.append(time.process_time() - processor)
    return passed, computed


if __name__ == "__main__":
    sys.exit(main())
