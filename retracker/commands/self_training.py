"""``tools/self_train.py compare`` and ``run``: what pseudo-labels have changed; all in one go."""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from retracker import checkpoint, train
from retracker.benchmarks.cycle import cycle
from retracker.benchmarks.protocol import Contestant
from retracker.commands.labelling import label
from retracker.commands.shell import check_folder, check_positive, progress_bar, say
from retracker.commands.teachers import teachers_of
from retracker.data.datasets.tracks_folder import TracksFolder
from retracker.inference.two_views import grid_points
from retracker.labelling.folder import PARTS
from retracker.labelling.testimony import scale_256
from retracker.media.files import replacing
from retracker.types import VideoSample

WITHIN = (1.0, 2.0, 4.0)  # px at 256 scale
MOST_CLIPS = 32
WIDTH = 110  # characters
SHOWN = MappingProxyType(
    {  # of the numbers, and how they are headed
        "survived %": "survive %",
        "of textured %": "textured %",
        "cycle error px": "error px",
        "moved px": "moved px",
        **{f"<{px:g} px of label %": f"<{px:g} px %" for px in WITHIN},
    }
)


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("labels", type=Path, help="what label wrote")
    parser.add_argument("--trackers", default="lucas_kanade,tiny", help="as --teachers of label")
    parser.add_argument("--clips", type=int, default=MOST_CLIPS, help="held-out clips, spread evenly")
    parser.add_argument("--grid", type=int, default=16, help="points a side")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Beside those of ``label``; what is left over are overrides of the training."""
    parser.add_argument("--out", type=Path, required=True, help="folder of labels, training and results")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--ckpt", default="tiny", help="the weights to start from")
    parser.add_argument("--grid", type=int, default=16, help="points a side that are followed there and back")


def run(arguments: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Label, train, compare; what an earlier run has finished is not done again."""
    check_positive("--steps", arguments.steps)
    strange = [word for word in overrides if word.startswith("-")]
    if strange:
        raise ValueError(f"{strange[0]}: no such option; overrides of the training are words such as a.b=c")
    labels, training = arguments.out / "labels", arguments.out / "training"
    label(arguments, labels)
    if not any(labels.glob(f"{PARTS[0]}/*/*.npz")):
        raise ValueError(f"{labels}: nothing was kept to train on; the account above says why")
    validated = any(labels.glob(f"{PARTS[1]}/*/*.npz"))
    last = training / "checkpoints" / "last.ckpt"
    whole = checkpoint.newest_valid(last.parent)
    if whole != last or checkpoint.read_torch(last, mmap=True)["global_step"] < arguments.steps:
        words = [
            "+experiment=self_training",
            f"labels='{labels}'",
            f"ckpt='{arguments.ckpt}'",
            f"total_steps={arguments.steps}",
            f"seed={arguments.seed}",
            f"paths.output_dir='{training}'",
            "resume=auto",
            *([] if validated else ["~callbacks.held_out"]),
        ]
        train.run([*words, *overrides])
    if not validated:
        say("nothing was held out, so there is nothing to compare on")
        return
    wish = argparse.Namespace(labels=labels, clips=MOST_CLIPS, grid=arguments.grid)
    wish.trackers, wish.json = f"lucas_kanade,{arguments.ckpt},{last}", arguments.out / "results.json"
    wish.device, wish.threads = arguments.device, arguments.threads
    if wish.json.exists() and wish.json.stat().st_mtime_ns > last.stat().st_mtime_ns:
        say(f"compared already: {wish.json}")
        return
    compare(wish)


def compare(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure trackers on the held-out clips: there and back, and against the labels. Prints a table."""
    for name in ("clips", "grid"):
        check_positive(f"--{name}", getattr(arguments, name))
    torch.set_num_threads(arguments.threads)
    clips = TracksFolder(str(arguments.labels / PARTS[1]))
    trackers = teachers_of(arguments.trackers, arguments.device)
    chosen = torch.linspace(0, len(clips) - 1, min(arguments.clips, len(clips))).round().long().tolist()
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    with progress_bar("comparing", len(chosen) * len(trackers), "clips") as progress:
        for index in chosen:
            sample = clips[index]
            for tracker in trackers:
                found[tracker.name].append(measure(tracker, sample, arguments.grid))
                progress()
    means = {name: _means(scores) for name, scores in found.items()}
    Console(width=WIDTH).print(_table(means, len(chosen)))
    if arguments.json is not None:
        check_folder("--json", arguments.json.parent)
        with replacing(arguments.json) as partial:
            partial.write_text(json.dumps(means, indent=2) + "\n")
        say(f"wrote {arguments.json}")
    return means


def measure(tracker: Contestant, sample: VideoSample, grid: int) -> dict[str, float]:
    """One clip's scores: of a grid of points forth and back, and how near the labels points were found."""
    points = grid_points(sample.video.shape[-2], sample.video.shape[-1], grid)
    scores = cycle(tracker.method, sample.video, points).scores()
    queries = torch.cat([sample.queries.frame[:, None].float(), sample.queries.xy], dim=-1)
    found = tracker.method(sample.video, queries)
    asked = sample.located & (torch.arange(len(sample.video))[:, None] > sample.queries.frame)
    distance = (found.tracks - sample.tracks).norm(dim=-1)[asked] / scale_256(sample.video)
    return scores | {f"<{px:g} px of label %": _percent(distance < px) for px in WITHIN}


def _percent(mask: Tensor) -> float:
    return 100 * mask.float().mean().item()


def _means(clips: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over clips, each where it is defined."""
    return {
        key: torch.tensor([clip[key] for clip in clips], dtype=torch.float64).nanmean().item()
        for key in clips[0]
    }


def _table(rows: Mapping[str, Mapping[str, float]], count: int) -> Table:
    table = Table(
        "tracker", *SHOWN.values(), title=f"{count} held-out clips: forth and back, and from labels"
    )
    for name, scores in rows.items():
        table.add_row(name, *[f"{scores[key]:.{1 if '%' in key else 2}f}" for key in SHOWN])
    return table
