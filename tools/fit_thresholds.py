"""python tools/fit_thresholds.py CHECKPOINT [--clips 4]: which visible_threshold suits a net?

Rendered clips from training seeds only: never a benchmark, never synthetic_val. Prints AJ and OA by
threshold, and for ten bins of confidence how often the point was visible and within 8 px (at 256 scale).
"""

import argparse
import sys
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track as progress
from rich.table import Table
from torch import Tensor

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.tracking import score_clip
from retracker.checkpoint import load
from retracker.data.datasets.synthetic import Synthetic
from retracker.models.tracker import probability
from retracker.types import VideoSample, stack

SEED = 31415926  # far from any training run's
THRESHOLDS = [round(0.2 + 0.05 * i, 2) for i in range(13)]
SURE_PIXELS = 8.0  # at 256 scale: what ``confidence`` promises
NUM_BINS = 10


@dataclass(frozen=True)
class Answer:
    """One clip and what the net said of it; T N."""

    sample: VideoSample
    tracks: Tensor
    chance: Tensor  # of being visible, to be compared with the threshold
    confidence: Tensor
    counted: Tensor  # after the birth frame


def main(argv: list[str] | None = None) -> int:
    """Run the net on clips of every difficulty and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", help="a .ckpt or .safetensors file, or a packaged name")
    parser.add_argument("--clips", type=int, default=4, help="clips of each difficulty")
    arguments = parser.parse_args(argv)
    net = load(arguments.checkpoint)
    groups = {
        name: Synthetic(arguments.clips, name, num_frames=48, num_points=64, size=256, seed=SEED)
        for name in ("easy", "medium", "hard")
    }
    jobs = [(name, clips, i) for name, clips in groups.items() for i in range(len(clips))]
    shown = progress(jobs, console=Console(stderr=True), transient=True)
    answers = [(name, answer(net, clips[i])) for name, clips, i in shown]
    console = Console()
    console.print(threshold_table(answers))
    console.print(calibration_table([found for _, found in answers]))
    return 0


@torch.inference_mode()
def answer(net: torch.nn.Module, sample: VideoSample) -> Answer:
    """Track one clip, keeping the probabilities that the threshold is applied to."""
    batch = stack([sample])
    found = net(batch.video, batch.queries)
    counted = torch.stack([frame.supervised[0] for frame in found.frames])
    chance = torch.stack([probability(frame.refined[-1])[0] for frame in found.frames])
    return Answer(sample, found.tracks[0], torch.where(counted, chance, 1.0), found.confidence[0], counted)


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
        score_clip(a.sample, Tracked(tracks=a.tracks, visible=a.chance > threshold, confidence=a.confidence))
        for a in answers
    ]
    keys = ("average_jaccard", "occlusion_accuracy")
    aj, oa = (100 * sum(score[key] for score in scores) / len(scores) for key in keys)
    return aj, oa


def calibration_table(answers: list[Answer]) -> Table:
    """Confidence against what came true, and the expected calibration error over all frames."""
    confidence = torch.cat([a.confidence[a.counted] for a in answers])
    truth = torch.cat([found_in_truth(a)[a.counted] for a in answers]).float()
    bins = (confidence * NUM_BINS).long().clamp(max=NUM_BINS - 1)
    table = Table("confidence", "came true", "share of all")
    total = 0.0
    for index in range(NUM_BINS):
        inside = bins == index
        share = inside.float().mean().item()
        if share > 0:
            said, came = confidence[inside].mean().item(), truth[inside].mean().item()
            total += share * abs(said - came)
            table.add_row(f"{said:.2f}", f"{came:.2f}", f"{share:.1%}")
    table.caption = f"expected calibration error {total:.3f}"
    return table


def found_in_truth(a: Answer) -> Tensor:
    """Whether each point is visible and was found within the promised distance; T N."""
    height, width = a.sample.video.shape[-2:]
    reach = SURE_PIXELS * (height * width) ** 0.5 / 256
    return a.sample.visible & ((a.tracks - a.sample.tracks).norm(dim=-1) < reach)


if __name__ == "__main__":
    sys.exit(main())
