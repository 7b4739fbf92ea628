"""python tools/benchmark.py [--ckpt tiny] [--points 100] [--threads 2]: speed, memory, where the time goes.

The yardstick is OpenCV's Lucas-Kanade on the same frames in the same run: its frames per second are printed
beside ours, because absolute numbers of two machines do not compare. With --table three usual settings are
timed instead, also with the net working on frames as large as they come; with --compile also compiled; and,
from a copy of its repository (--cotracker FOLDER, random weights), CoTracker3 online.

--train measures a step of training instead, of any configuration: --train --help.
"""

import argparse
import json
import resource
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from retracker.benchmarks.baselines import LucasKanadeSettings, lucas_kanade
from retracker.benchmarks.peers.cotracker import UNTRAINED, CoTrackerSettings, cotracker
from retracker.checkpoint import build_net, load
from retracker.commands.net_parts import parts_of, watched
from retracker.commands.step_report import main as benchmark_training
from retracker.inference.online import OnlineTracker

CONFIGS = Path(__file__).parents[1] / "configs"
WARM_UP = 5  # frames: allocations, caches and thread pools
MIB = 2**20
# Forth and back once per frame, no search for lost points: a yardstick, whatever the baseline becomes.
PLAIN = LucasKanadeSettings(window=21, pyramid=3, round_trip=2.0, patience=0, likeness=0.8)
USUAL = (((256, 256), 100), ((384, 512), 100), ((384, 512), 500))  # (height, width) px, points
TOGETHER = CoTrackerSettings(
    single_point=False, global_grid=5, local_grid=8, local_extent=50, iterations=6, threshold=0.6
)  # all points at once: the fast way


def main(argv: list[str] | None = None) -> int:
    """Measure, print a table and optionally write json; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if "--train" in words:
        return benchmark_training([word for word in words if word != "--train"])
    arguments = parse(words)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    try:
        net = net_of(arguments)
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f"benchmark: {error}\n")
        return 2
    if arguments.table:
        show_table(standings(contestants(net, arguments), arguments))
        return 0
    video, xy = scene(arguments.frames, (arguments.size, arguments.size), arguments.points)
    report = {
        "threads": arguments.threads,
        "size": arguments.size,
        "points": arguments.points,
        "parameters": sum(p.numel() for p in net.parameters()),
        "speed": speed(net, video, xy, arguments.repeats),
        "milliseconds per frame": profile(net, video, xy),
        "bytes per point": bytes_per_point(net, video, xy),
        "stream": stream(net, video, xy, arguments.stream),
    }
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt", help="a path or packaged name; without it, an untrained net")
    parser.add_argument("--model", default="tiny", help="which untrained net (a name in configs/model)")
    parser.add_argument("--size", type=int, default=256, help="px, a side of the square frames")
    parser.add_argument("--points", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--frames", type=int, default=24, help="frames in each timed run")
    parser.add_argument("--repeats", type=int, default=5, help="timed runs; the median counts")
    parser.add_argument("--stream", type=int, default=1000, help="frames of the memory test; 0 leaves it out")
    parser.add_argument("--table", action="store_true", help="three usual settings, beside other trackers")
    parser.add_argument("--compile", action="store_true", help="also compiled, in the table: takes minutes")
    parser.add_argument("--cotracker", type=Path, metavar="FOLDER", help="a copy of co-tracker's repository")
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    return parser.parse_args(argv)


def net_of(arguments: argparse.Namespace) -> nn.Module:
    """What is timed, as the arguments name it."""
    return load(arguments.ckpt) if arguments.ckpt else untrained(arguments.model)


def untrained(model: str) -> nn.Module:
    """The named net with random weights: as fast as a trained one."""
    with initialize_config_dir(str(CONFIGS.resolve()), version_base="1.3"):
        config = OmegaConf.to_container(compose("eval", [f"model={model}"]).model, resolve=True)
    return build_net(config).eval()


def scene(num_frames: int, size: tuple[int, int], num_points: int) -> tuple[Tensor, Tensor]:
    """A texture that drifts 2 px per frame (T 3 H W uint8), and points (N 2, px) spread over it."""
    rng = np.random.default_rng(0)
    height, width = size
    texture = cv2.GaussianBlur(rng.uniform(0, 255, (height, width + 2 * num_frames)), (0, 0), 2.0)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    frames = np.stack([texture[:, 2 * t : 2 * t + width] for t in range(num_frames)])
    video = torch.from_numpy(frames)[:, None].repeat(1, 3, 1, 1)
    points = torch.from_numpy(rng.uniform(0.1, 0.9, (num_points, 2)).astype(np.float32))
    return video, points * torch.tensor([width, height])


def follow(
    net: nn.Module, frames: Iterable[Tensor], xy: Tensor, image_size: int | None = None
) -> Iterator[OnlineTracker]:
    """Follow all points from the first frame on, as users do; yields the tracker after each frame."""
    tracker = OnlineTracker(net, image_size)
    tracker.add_queries(xy)
    for frame in frames:
        tracker.step(frame)
        yield tracker


def exhaust(steps: Iterator[OnlineTracker]) -> None:
    deque(steps, maxlen=0)


def speed(net: nn.Module, video: Tensor, xy: Tensor, repeats: int) -> dict[str, float]:
    """Median frames per second of the net and of Lucas-Kanade (forth and back), alternating; their ratio."""
    queries = torch.cat([torch.zeros(len(xy), 1), xy], dim=1)
    ours, theirs = [], []
    exhaust(follow(net, video[:WARM_UP], xy))
    for _ in range(repeats):
        ours.append(len(video) / seconds_of(lambda: exhaust(follow(net, video, xy))))
        theirs.append(len(video) / seconds_of(lambda: lucas_kanade(video, queries, PLAIN)))
    net_fps, lk_fps = statistics.median(ours), statistics.median(theirs)
    return {"net fps": net_fps, "lowest": min(ours), "highest": max(ours)} | {
        "Lucas-Kanade fps": lk_fps,
        "ratio": net_fps / lk_fps,
    }


def contestants(net: nn.Module, arguments: argparse.Namespace) -> dict[str, nn.Module]:
    """The net by the names of what the table shows of it."""
    if not arguments.compile:
        return {"ReTracker": net}
    compiled = net_of(arguments)  # another copy: compiling changes a net in place
    compiled.compile(frozen=True)
    return {"ReTracker": net, "ReTracker, compiled": compiled}


def standings(nets: Mapping[str, nn.Module], arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Frames per second of everybody in the usual settings: medians of runs that take turns."""
    found, peer = {}, None
    if arguments.cotracker is not None:
        folder = str(arguments.cotracker)
        peer = cotracker("cotracker3_online", folder, "local", UNTRAINED, TOGETHER, "cpu")
    for (height, width), num in USUAL:
        video, xy = scene(arguments.frames, (height, width), num)
        queries = torch.cat([torch.zeros(num, 1), xy], dim=1)
        ways, whole = {}, round((height * width) ** 0.5)
        for who, net in nets.items():
            exhaust(follow(net, video[:WARM_UP], xy))
            ways[who] = lambda n=net, v=video, p=xy: exhaust(follow(n, v, p))
            if whole != net.image_size:
                exhaust(follow(net, video[:WARM_UP], xy, whole))
                ways[f"{who}, full size"] = lambda n=net, v=video, p=xy, s=whole: exhaust(follow(n, v, p, s))
        ways["Lucas-Kanade"] = lambda v=video, q=queries: lucas_kanade(v, q, PLAIN)
        if peer is not None:
            ways["CoTracker3 online"] = lambda v=video, q=queries: peer(v, q)
        times = {who: [] for who in ways}
        for _ in range(arguments.repeats):
            for who, work in ways.items():
                times[who].append(seconds_of(work))
        speeds = {who: len(video) / statistics.median(seconds) for who, seconds in times.items()}
        found[f"{width} x {height}, {num} points"] = speeds
    return found


def show_table(rows: dict[str, dict[str, float]]) -> None:
    """Markdown: frames per second, a line for each setting."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [f"| frames per second | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for title, row in rows.items():
        shown = [f"{row[name]:.1f}" if name in row else "same" for name in names]
        lines.append(f"| {title} | {' | '.join(shown)} |")
    sys.stdout.write("\n".join(lines) + "\n")


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def profile(net: nn.Module, video: Tensor, xy: Tensor) -> dict[str, float]:
    """Milliseconds per frame in each part; "rest" is choice, admission, context and the slots of points."""
    spent: dict[str, float] = {}
    started = time.perf_counter()
    with watched(parts_of(net), time.perf_counter, spent):
        exhaust(follow(net, video, xy))
    spent["all"] = time.perf_counter() - started
    spent["rest"] = spent["all"] - sum(spent[name] for name in ("encode", "coarse", "refiner", "memory"))
    return {name: 1000 * value / len(video) for name, value in spent.items()}


def bytes_per_point(net: nn.Module, video: Tensor, xy: Tensor) -> int:
    """What one slot for a point adds to the state that crosses from frame to frame."""
    [tracker] = follow(net, video[:1], xy)
    slots = -(-len(xy) // tracker.group_size) * tracker.group_size  # groups are always whole
    return tracker.state_bytes() // slots


def stream(net: nn.Module, video: Tensor, xy: Tensor, num_frames: int) -> dict[str, float]:
    """Resident memory (MiB) over a long stream: after 10 % of the frames, at the end, and its growth."""
    if not num_frames:
        return {}
    there_and_back = [*range(len(video)), *range(len(video) - 2, 0, -1)]
    frames = (video[there_and_back[t % len(there_and_back)]] for t in range(num_frames))
    settled, early = num_frames // 10, 0.0
    started = time.perf_counter()
    for t, _ in enumerate(follow(net, frames, xy)):
        if t == settled:
            early = resident()
    seconds = time.perf_counter() - started
    late = resident()
    return {"frames": num_frames, "early MiB": early, "late MiB": late} | {
        "growth MiB": late - early,
        "fps": num_frames / seconds,
    }


def resident() -> float:
    """Resident memory of this process now (Linux) or at its peak (elsewhere), MiB."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / MIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def show(report: dict) -> None:
    """The report as a two-column table on standard output."""
    table = Table("what", "value", title="ReTracker: speed and memory")
    for name, value in report.items():
        for part, number in value.items() if isinstance(value, dict) else [("", value)]:
            shown = f"{number:.2f}" if isinstance(number, float) else str(number)
            table.add_row(f"{name}: {part}" if part else name, shown)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
