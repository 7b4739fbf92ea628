"""python tools/fit_thresholds.py CHECKPOINT [--clips 4] [--write OUT.safetensors]: thresholds of a net.

Fits, on rendered clips of a seed of their own (never a benchmark, never synthetic_val), the visible_threshold
that gives the best mean AJ, and the scale and shift of the certainty logit (Platt 1999) that make confidence
the probability of being visible and within 8 px (at 256 scale). Prints AJ and OA by threshold and, of every
second clip, which calibration does not see, how often that came true for ten bins of confidence.
"""

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from torch import Tensor

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tracking import score_clip
from retracker.checkpoint import load, save_safetensors
from retracker.data.datasets.synthetic import Synthetic
from retracker.inference.checks import check_tracker
from retracker.metrics.calibration import came_true, reliability
from retracker.models.tracker import probability
from retracker.types import VideoSample, stack

SEED = 31415926  # far from any training run's
THRESHOLDS = [round(0.05 * i, 2) for i in range(1, 17)]
NUM_BINS = 10


@dataclass(frozen=True)
class Answer:
    """One clip and what the net said of it; T N."""

    sample: VideoSample
    tracks: Tensor
    chance: Tensor  # of being visible, to be compared with the threshold
    certainty: Tensor  # logit
    counted: Tensor  # after the birth frame


def main(argv: list[str] | None = None) -> int:
    """Run the net on clips of every difficulty, fit, print both tables; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a .ckpt or .safetensors file, or a packaged name")
    parser.add_argument("--clips", type=int, default=4, help="clips of each difficulty; at least 2")
    parser.add_argument("--write", type=Path, help="a .safetensors file: the net with what was fitted")
    parser.add_argument(
        "--most-enlarged", type=float, help="how far small films are enlarged, at most; else as before"
    )
    parser.add_argument("--half", action="store_true", help="write float16")
    arguments = parser.parse_args(argv)
    try:
        run(arguments)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"fit_thresholds: {error}\n")
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    if arguments.clips < 2:
        raise ValueError(
            f"--clips: expected at least 2, to fit on one half and look at the other; got {arguments.clips}"
        )
    if arguments.most_enlarged is not None and not 1 <= arguments.most_enlarged < math.inf:
        raise ValueError(f"--most-enlarged: expected a number of 1 or more, got {arguments.most_enlarged}")
    if not arguments.write and (arguments.half or arguments.most_enlarged is not None):
        raise ValueError("--half and --most-enlarged: of the file that --write names, and none is named")
    net = load(arguments.checkpoint)
    check_tracker(net, arguments.checkpoint)
    answers = answer_all(net, arguments.clips)
    threshold, (scale, shift) = best_threshold(answers), fit_confidence([a for _, a in answers[::2]])
    console = Console()
    console.print(threshold_table(answers))
    console.print(calibration_table([found for _, found in answers[1::2]], scale, shift))
    console.print(f"visible_threshold {threshold}, confidence_scale {scale}, confidence_shift {shift}")
    if arguments.write:
        fitted = {"visible_threshold": threshold, "confidence_scale": scale, "confidence_shift": shift}
        if arguments.most_enlarged is not None:
            fitted["most_enlarged"] = arguments.most_enlarged
        save_safetensors(net, net.config | fitted, arguments.write, half=arguments.half)


def answer_all(net: torch.nn.Module, clips: int) -> list[tuple[str, Answer]]:
    """The net's answers for clips of each group, with the group's name."""
    groups = {
        name: Synthetic(clips, name, num_frames=48, num_points=64, size=256, seed=SEED)
        for name in ("easy", "medium", "hard")
    }
    jobs = [(name, data, i) for name, data in groups.items() for i in range(len(data))]
    shown = progress(jobs, console=Console(stderr=True), transient=True)
    return [(name, answer(net, data[i])) for name, data, i in shown]


@torch.inference_mode()
def answer(net: torch.nn.Module, sample: VideoSample) -> Answer:
    """Track one clip, keeping the logits that all is fitted to."""
    batch = stack([sample])
    found = net(batch.video, batch.queries)
    counted = torch.stack([frame.supervised[0] for frame in found.frames])
    chance = torch.stack([probability(frame.refined[-1])[0] for frame in found.frames])
    certainty = torch.stack([frame.refined[-1].certainty[0] for frame in found.frames])
    return Answer(sample, found.tracks[0], torch.where(counted, chance, 1.0), certainty, counted)


def fit_confidence(answers: list[Answer]) -> tuple[float, float]:
    """Scale and shift of the certainty logit with the least cross-entropy: logistic regression."""
    logit = torch.cat([a.certainty[a.counted] for a in answers]).double()
    truth = torch.cat([came_true(a.sample, a.tracks)[a.counted] for a in answers]).double()
    if truth.min() == truth.max():
        raise ValueError(
            "confidence cannot be fitted: on these clips the net is always right, or always wrong"
        )
    numbers = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([numbers], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = F.binary_cross_entropy_with_logits(numbers[0] * logit + numbers[1], truth)
        value.backward()
        return value

    solver.step(loss)
    scale, shift = (round(value, 4) for value in numbers.tolist())
    return scale, shift


def best_threshold(answers: list[tuple[str, Answer]]) -> float:
    """The threshold with the best AJ, averaged over groups."""
    return max(THRESHOLDS, key=lambda threshold: mean_aj(answers, threshold))


def mean_aj(answers: list[tuple[str, Answer]], threshold: float) -> float:
    names = dict.fromkeys(name for name, _ in answers)
    means = [mean_scores([a for n, a in answers if n == name], threshold)[0] for name in names]
    return sum(means) / len(means)


def threshold_table(answers: list[tuple[str, Answer]]) -> Table:
    """AJ and OA of each group for every threshold, in percent."""
    names = list(dict.fromkeys(name for name, _ in answers))
    table = Table("threshold", *[f"{name} {metric}" for name in names for metric in ("AJ", "OA")], "mean AJ")
    for threshold in THRESHOLDS:
        means = [mean_scores([a for n, a in answers if n == name], threshold) for name in names]
        mean = sum(aj for aj, _ in means) / len(means)
        table.add_row(f"{threshold:.2f}", *[f"{v:.1f}" for pair in means for v in pair], f"{mean:.2f}")
    return table


def mean_scores(answers: list[Answer], threshold: float) -> tuple[float, float]:
    """AJ and OA in percent, unweighted over clips."""
    scores = [
        score_clip(a.sample, Tracked(tracks=a.tracks, visible=a.chance > threshold, confidence=a.chance))
        for a in answers
    ]
    keys = ("average_jaccard", "occlusion_accuracy")
    aj, oa = (100 * sum(score[key] for score in scores) / len(scores) for key in keys)
    return aj, oa


def calibration_table(answers: list[Answer], scale: float, shift: float) -> Table:
    """Calibrated confidence against what came true, and the expected calibration error over all frames."""
    certainty = torch.cat([a.certainty[a.counted] for a in answers])
    confidence = (scale * certainty + shift).sigmoid()
    truth = torch.cat([came_true(a.sample, a.tracks)[a.counted] for a in answers])
    found = reliability(confidence, truth, NUM_BINS)
    table = Table("confidence", "came true", "share of all")
    for said, came, count in zip(found.said, found.came, found.count, strict=True):
        if count:
            table.add_row(f"{said:.2f}", f"{came:.2f}", f"{count / len(truth):.1%}")
    table.caption = f"expected calibration error {found.error:.3f}"
    return table


if __name__ == "__main__":
    sys.exit(main())
