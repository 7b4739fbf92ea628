"""python tools/endurance.py [--frames 5000] [--height 480 --width 640] [--points 200] [--out endurance.png]

Tracks a stream that does not end: a large picture that the camera pans and turns over, no two frames alike.
Prints resident memory and the processor time of tracking a frame every 100 frames, at the end how much memory
grew since frame 50, and how much longer the last frames took than the early ones; draws both.

--check N (frames; 0: not) then tracks N frames twice, once with 100 more points that are born halfway, and
compares all other tracks: unless they are the same to the bit, the exit code is 1.
"""

import argparse
import math
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from retracker.commands.shell import OneLineParser, check_positive, exit_code, load_model, say
from retracker.inference.online import OnlineTracker
from retracker.visualize.curves import Measured, write_measured

MIB = 2**20
EVERY = 100  # frames that are reported together
SETTLED = 50  # frames after which everything that is kept has been allocated
EARLY = (100, 600)  # frames whose time is compared with that of as many at the end
MORE = 100  # points that join halfway through
SIDE = 1200  # px of the picture
STATM = Path("/proc/self/statm")


@dataclass
class Record:
    """What was measured of one run."""

    cpu_ms: list[float] = field(default_factory=list)  # of each frame
    memory_mib: dict[int, float] = field(default_factory=dict)  # after so many frames


def main(argv: list[str] | None = None) -> int:
    """Measure, print, draw; returns the exit code."""
    parser = OneLineParser(
        prog="endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--height", type=int, default=480, help="px")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--ckpt", default="tiny", help="a packaged name or a .ckpt or .safetensors file")
    parser.add_argument("--check", type=int, default=100, metavar="N", help="frames; 0: do not check")
    parser.add_argument("--no-subpixel", action="store_true", help="answers as the net says")
    parser.add_argument("--out", type=Path, default=Path("endurance.png"))
    arguments = parser.parse_args(argv)
    return exit_code("endurance", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    for name in ("frames", "height", "width", "points"):
        check_positive(f"--{name}", getattr(arguments, name))
    if arguments.check < 0:
        raise ValueError(f"--check: expected a number of frames or 0, got {arguments.check}")
    net, size = load_model(arguments.ckpt, "cpu"), (arguments.height, arguments.width)
    start = random_points(arguments.points, size, seed=0)
    tracker = OnlineTracker(net, subpixel=not arguments.no_subpixel)
    record = measure(tracker, start, arguments.frames, size)
    summarise(record, arguments)
    draw(record, arguments)
    say(f"{arguments.out}")
    return check(net, start, arguments) if arguments.check else 0


def stream(num_frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Frames (H, W, 3) of a camera that loops over a picture, and is never twice at the same place."""
    picture, (height, width) = texture(), size
    for t in range(num_frames):
        across, down = math.sin(0.011 * t), math.sin(0.011 * math.sqrt(2) * t)
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), 25 * math.sin(0.007 * t), 1.0)
        turn[:, 2] += (width / 2 - SIDE / 2 + 0.2 * SIDE * across, height / 2 - SIDE / 2 + 0.2 * SIDE * down)
        yield cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def texture() -> np.ndarray:
    """Coloured noise of many scales."""
    rng, total = np.random.default_rng(0), np.zeros((SIDE, SIDE, 3), np.float32)
    for scale in (2, 4, 8, 16, 32, 64):
        cells = rng.standard_normal((SIDE // scale + 2, SIDE // scale + 2, 3)).astype(np.float32)
        total += cv2.resize(cells, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 28 * total, 0, 255).astype(np.uint8)


def random_points(count: int, size: tuple[int, int], seed: int) -> Tensor:
    """Positions in a frame of (height, width)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]])


def measure(tracker: OnlineTracker, start: Tensor, num_frames: int, size: tuple[int, int]) -> Record:
    """Track and print as it goes."""
    record = Record()
    tracker.add_queries(start)
    for t, frame in enumerate(stream(num_frames, size), start=1):
        before = time.process_time()
        tracker.step(frame)
        record.cpu_ms.append(1000 * (time.process_time() - before))
        if t == SETTLED or t % EVERY == 0 or t == num_frames:
            record.memory_mib[t] = resident_bytes() / MIB
            recent = np.mean(record.cpu_ms[-EVERY:])
            say(f"frame {t}: {record.memory_mib[t]:.1f} MiB resident, {recent:.1f} ms of processor a frame")
    return record


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not tell, the most that it ever held."""
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def summarise(record: Record, arguments: argparse.Namespace) -> None:
    times, memory = record.cpu_ms, record.memory_mib
    after = [value for t, value in memory.items() if t >= SETTLED]
    if after:
        say(
            f"memory since frame {min(t for t in memory if t >= SETTLED)}: "
            f"{after[-1] - after[0]:+.1f} MiB at the end, "
            f"{max(after) - after[0]:+.1f} MiB at most (from {after[0]:.1f})"
        )
    first, last = compared(len(times))
    early, late = np.mean(times[slice(*first)]), np.mean(times[slice(*last)])
    say(
        f"{arguments.points} points, {arguments.width} x {arguments.height} px: "
        f"frames {first[0]} to {first[1]} took {early:.1f} ms of processor each, "
        f"frames {last[0]} to {last[1]} {late:.1f} ms ({late / early - 1:+.1%})"
    )


def compared(num_frames: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Which frames are early and which are late; of short runs the second and the last quarter."""
    if num_frames < 2 * EARLY[1]:
        quarter = max(1, num_frames // 4)
        return (quarter, max(2 * quarter, quarter + 1)), (num_frames - quarter, num_frames)
    return EARLY, (num_frames - (EARLY[1] - EARLY[0]), num_frames)


def draw(record: Record, arguments: argparse.Namespace) -> None:
    windows = range(0, len(record.cpu_ms), EVERY)
    title = f"{arguments.points} points through {arguments.frames} frames of "
    panels = [
        Measured(
            title="resident memory",
            label="MiB",
            x=list(record.memory_mib),
            y=list(record.memory_mib.values()),
        ),
        Measured(
            title="processor time of a frame",
            label="ms",
            x=[min(t + EVERY, len(record.cpu_ms)) for t in windows],
            y=[float(np.mean(record.cpu_ms[t : t + EVERY])) for t in windows],
        ),
    ]
    write_measured(arguments.out, title + f"{arguments.width} x {arguments.height} px", "frame", panels)


def check(net: nn.Module, start: Tensor, arguments: argparse.Namespace) -> int:
    """Whether points that join change the tracks of others; 1 if they do."""
    calm, busy = (follow(net, start, arguments, joining=joining) for joining in (False, True))
    same = all(torch.equal(a, b) for a, b in zip(calm, busy, strict=True))
    verdict = "all tracks are the same to the bit" if same else "TRACKS HAVE CHANGED"
    say(f"{MORE} points born in frame {arguments.check // 2} of {arguments.check}: {verdict}")
    return 0 if same else 1


def follow(net: nn.Module, start: Tensor, arguments: argparse.Namespace, *, joining: bool) -> list[Tensor]:
    """Positions and confidence of the first points in every frame."""
    size = (arguments.height, arguments.width)
    tracker = OnlineTracker(net, subpixel=not arguments.no_subpixel)
    tracker.add_queries(start)
    found = []
    for t, frame in enumerate(stream(arguments.check, size)):
        if joining and t == arguments.check // 2:
            tracker.add_queries(random_points(MORE, size, seed=1))
        tracks = tracker.step(frame)
        found.append(torch.cat([tracks.tracks, tracks.confidence[:, None]], dim=-1)[: len(start)])
    return found


if __name__ == "__main__":
    sys.exit(main())
