"""python tools/calibration.py [--ckpt tiny] [--quick] [--out calibration.png]: is confidence what it says?

On synthetic_val, whose clips neither training nor tools/fit_thresholds.py has seen, as users track: in each
frame after its birth a point's confidence should be the probability that it is visible and was found within 8
px (at 256 scale). Prints, of all clips and of each group, the expected calibration error over 15 bins of
equal width and the Brier score (both better if lower), and draws the reliability diagram.
"""

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from torch import Tensor, nn

from retracker.commands.shell import OneLineParser, exit_code, load_model, say
from retracker.data.synthetic.settings import DIFFICULTIES
from retracker.data.synthetic.validation import SyntheticVal
from retracker.inference.clip import track
from retracker.metrics.calibration import Reliability, brier, came_true, reliability
from retracker.types import VideoSample
from retracker.visualize.reliability import Bins, write_reliability

NUM_BINS = 15
Answers = tuple[Tensor, Tensor]  # confidence, and whether it came true: M of each


def main(argv: list[str] | None = None) -> int:
    """Track, print, draw; returns the exit code."""
    parser = OneLineParser(
        prog="calibration", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ckpt", default="tiny", help="a packaged name or a .ckpt or .safetensors file")
    parser.add_argument("--quick", action="store_true", help="two clips of each group")
    parser.add_argument("--out", type=Path, default=Path("calibration.png"))
    arguments = parser.parse_args(argv)
    return exit_code("calibration", lambda: run(arguments))


def run(arguments: argparse.Namespace) -> None:
    net, clips = load_model(arguments.ckpt, "cpu"), SyntheticVal(DIFFICULTIES, quick=arguments.quick)
    found: dict[str, list[Answers]] = {}
    shown = progress(range(len(clips)), console=Console(stderr=True), transient=True)
    for index in shown:
        found.setdefault(clips.clips[index][0], []).append(answers(net, clips[index]))
    report(found, arguments)


def answers(net: nn.Module, sample: VideoSample) -> Answers:
    """All answers in frames after each point's birth."""
    queries = torch.cat([sample.queries.frame[:, None].float(), sample.queries.xy], dim=-1)
    result = track(net, sample.video, queries)
    after = torch.arange(len(sample.video))[:, None] > sample.queries.frame
    return result.confidence[after], came_true(sample, result.tracks)[after]


def report(found: dict[str, list[Answers]], arguments: argparse.Namespace) -> None:
    groups = {name: together(parts) for name, parts in found.items()}
    whole = together(list(groups.values()))
    table = Table(
        "clips", "answers", "expected calibration error", "Brier score", "mean confidence", "came true"
    )
    for name, (confidence, truth) in {**groups, "all": whole}.items():
        error = reliability(confidence, truth, NUM_BINS).error
        said, came = confidence.mean().item(), truth.float().mean().item()
        scores = (error, brier(confidence, truth), said, came)
        table.add_row(name, str(len(truth)), *(f"{value:.4f}" for value in scores))
    Console().print(table)
    measured = reliability(*whole, NUM_BINS)
    title = f"synthetic_val: calibration error {measured.error:.3f}, Brier {brier(*whole):.3f}"
    lines = {name: bins_of(reliability(*parts, NUM_BINS)) for name, parts in groups.items()}
    write_reliability(arguments.out, title, bins_of(measured), lines)
    say(str(arguments.out))


def together(parts: list[Answers]) -> Answers:
    confidence, truth = (torch.cat(values) for values in zip(*parts, strict=True))
    return confidence, truth


def bins_of(found: Reliability) -> Bins:
    return Bins(said=found.said.tolist(), came=found.came.tolist(), count=found.count.tolist())


if __name__ == "__main__":
    sys.exit(main())
