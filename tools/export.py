"""python tools/export.py [--ckpt tiny] [--height 256 --width 256] [--points 64] --out DIR: a graph for ONNX.

Writes track.onnx, track.pt2 (torch.export) and track.json: one frame and a state go in, answers and the next
state come out. Needs the packages onnx, onnxscript and onnxruntime.

Then checks the graph in onnxruntime on rendered clips with points born late, and --video if given. "a step":
given the very same state, how far are its answers from PyTorch's? This must be below 1e-3, in px for visible
points and of confidence for all, else the exit code is 1. "alone": each goes on from its own state for the
whole clip. There rounding adds up, most where nobody knows where a hidden point is: that is only told.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from retracker.commands.shell import OneLineParser, exit_code, load_model
from retracker.data.datasets.synthetic import render_one
from retracker.data.synthetic import ClipSettings
from retracker.data.synthetic.seeds import training_seed
from retracker.inference.export import FrameStep, check, export
from retracker.inference.frames import resize
from retracker.inference.slots import Slots
from retracker.media.video import iterate_video

try:
    from retracker.inference.exported import ExportedTracker
except ModuleNotFoundError as error:  # onnxruntime is an option
    ExportedTracker, MISSING = None, error.name

LIMIT = 1e-3  # px of visible points, and of confidence
SEED = 2718  # of the rendered clips
GROUPS = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Clip:
    """Frames and points that are born in some of them."""

    name: str
    video: Tensor  # T 3 H W uint8
    xy: Tensor  # N 2
    birth: Tensor  # N


@dataclass(frozen=True)
class Differences:
    """Between onnxruntime and PyTorch, over all frames of a clip."""

    visible_px: float  # the largest
    hidden_px: float
    confidence: float
    within: float  # share of visible answers that differ by less than the limit

    @property
    def fine(self) -> bool:
        return self.visible_px < LIMIT and self.confidence < LIMIT


def main(argv: list[str] | None = None) -> int:
    """Export, check, print; returns the exit code."""
    parser = OneLineParser(prog="export", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--ckpt", default="tiny", help="a packaged name or a .ckpt or .safetensors file")
    parser.add_argument("--height", type=int, default=256, help="of the frames, px")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--points", type=int, default=64, help="slots for points; free ones cost as much")
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument(
        "--frames", type=int, default=24, help="of each clip that is checked; 0: do not check"
    )
    parser.add_argument("--video", type=Path, help="check on a video, too")
    arguments = parser.parse_args(argv)
    return exit_code("export", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    if ExportedTracker is None:
        raise ValueError(f"needs a package: pip install {MISSING} (also onnx and onnxscript)")
    height, width, points = arguments.height, arguments.width, arguments.points
    check(height, width, points)
    clips = list(clips_of(arguments)) if arguments.frames else []  # before minutes of work: may be refused
    net = load_model(arguments.ckpt, "cpu")
    about = export(net, arguments.out, height, width, points)
    console = Console()
    console.print(f"{arguments.out}: frames of {width} x {height} px, {points} points")
    console.print(f"weights {about['weights'][:16]}, torch {about['versions']['torch']}")
    return compare(net, arguments, clips, console) if clips else 0


def clips_of(arguments: argparse.Namespace) -> Iterator[Clip]:
    """Rendered clips of each difficulty, and the start of a video."""
    size, points = (arguments.height, arguments.width), arguments.points
    for index, group in enumerate(GROUPS):
        settings = ClipSettings(
            difficulty=group, num_frames=arguments.frames, num_points=points, height=size[0], width=size[1]
        )
        sample = render_one(training_seed(SEED, index), settings)
        yield Clip(group, sample.video, sample.queries.xy, sample.queries.frame)
    if arguments.video:
        video = torch.stack(
            [resize(x, size) for x in islice(iterate_video(arguments.video), arguments.frames)]
        )
        rng = torch.Generator().manual_seed(SEED)
        xy = torch.rand(points, 2, generator=rng) * torch.tensor(size[::-1])
        birth = torch.arange(points) % 3 * (len(video) // 4)
        yield Clip(arguments.video.name, video, xy, birth)


def compare(net: nn.Module, arguments: argparse.Namespace, clips: list[Clip], console: Console) -> int:
    """Print how far onnxruntime is from PyTorch, and how quick; 1 if it is too far."""
    step = FrameStep(net, arguments.height, arguments.width, arguments.points).eval()
    graph = arguments.out / "track.onnx"
    exported = ExportedTracker(graph, threads=torch.get_num_threads())
    columns = ("a step:\nvisible px", "\nhidden px", "\nconfidence", "alone:\nvisible px", f"\n< {LIMIT:g}")
    table = Table("\nclip", *columns, "\nhidden px")
    fine, times = True, []
    for clip in clips:
        stepwise = step_by_step(step, exported, clip)
        alone, seconds = each_alone(net, exported, clip)
        times += seconds
        fine &= stepwise.fine
        numbers = (stepwise.visible_px, stepwise.hidden_px, stepwise.confidence, alone.visible_px)
        table.add_row(
            clip.name, *(f"{x:.1e}" for x in numbers), f"{alone.within:.2%}", f"{alone.hidden_px:.1e}"
        )
    console.print(table)
    eager, other = 1000 * np.median(times, axis=0)
    console.print(
        f"ms per frame, one after the other: PyTorch {eager:.1f}, onnxruntime {other:.1f} (medians)"
    )
    console.print("checked: equal" if fine else f"NOT EQUAL: a step differs by {LIMIT:g} or more")
    return 0 if fine else 1


def step_by_step(step: FrameStep, exported: ExportedTracker, clip: Clip) -> Differences:
    """Every frame from PyTorch's own state."""
    state, found = list(step.start().values()), []
    for t, frame in enumerate(clip.video):
        inputs = (frame, clip.xy.contiguous(), clip.birth == t, *state)
        with torch.inference_mode():
            xy, visible, confidence, *state = step(*inputs)
        answers = exported.answer(*(x.numpy() for x in inputs))
        alive = (clip.birth <= t).numpy()
        found.append([x[alive] for x in (xy.numpy(), visible.numpy(), confidence.numpy(), *answers[:3:2])])
    return differences(found)


def each_alone(
    net: nn.Module, exported: ExportedTracker, clip: Clip
) -> tuple[Differences, list[tuple[float, float]]]:
    """Whole clips by both trackers as they are used, and the seconds that each took for each frame."""
    eager = Slots(net, len(clip.xy), subpixel=False)
    exported.reset()
    found, seconds = [], []
    for t, frame in enumerate(clip.video):
        born = clip.xy[clip.birth == t]
        for key, xy in zip(exported.add_queries(born.numpy()).tolist(), born.tolist(), strict=True):
            eager.add(key, tuple(xy))
        start = time.perf_counter()
        with torch.inference_mode():
            ours = eager.step(net.encode(frame[None]), [frame])
        middle = time.perf_counter()
        theirs = exported.step(frame.numpy())
        seconds.append((middle - start, time.perf_counter() - middle))
        mine = (ours.tracks.numpy(), ours.visible.numpy(), ours.confidence.numpy())
        found.append([*mine, theirs.tracks, theirs.confidence])
    return differences(found), seconds


def differences(found: list[list[np.ndarray]]) -> Differences:
    xy, visible, confidence, xy_other, confidence_other = (
        np.concatenate(x) for x in zip(*found, strict=True)
    )
    apart = np.abs(xy - xy_other).max(1)
    return Differences(
        visible_px=apart[visible].max(initial=0),
        hidden_px=apart[~visible].max(initial=0),
        confidence=np.abs(confidence - confidence_other).max(initial=0),
        within=float((apart[visible] < LIMIT).mean()) if visible.any() else 1.0,
    )


if __name__ == "__main__":
    sys.exit(main())
