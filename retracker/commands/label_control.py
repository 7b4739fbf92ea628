"""``tools/self_train.py control``: how good pseudo-labels are where the truth is known, filter by filter.

Rendered clips are labelled as films would be, for the points whose truth they come with. Each line adds a
filter: what is left of the places where a point is really visible, how much of it is right, and how much of
what was dropped would have been right.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from retracker.benchmarks.protocol import Contestant
from retracker.commands.labelling import TEACHERS, agreement_of, checks_of
from retracker.commands.shell import check_positive, progress_bar
from retracker.commands.teachers import teachers_of
from retracker.data.datasets.synthetic import Synthetic
from retracker.labelling.agreement import agree
from retracker.labelling.testimony import scale_256, testify
from retracker.types import VideoSample

SEED = 27182818  # far from any training run's, and from what thresholds are fitted on
WITHIN = (1.0, 2.0, 4.0, 8.0)  # px at 256 scale


def add_control_arguments(parser: argparse.ArgumentParser) -> None:
    """Which clips, beside what ``label`` takes of teachers and rules."""
    parser.add_argument("--teachers", default=TEACHERS)
    parser.add_argument("--groups", default="medium,hard")
    parser.add_argument("--clips", type=int, default=4, help="of each group")
    parser.add_argument("--points", type=int, default=128)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)


def control(arguments: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Label rendered clips, compare with the truth, print a table of each group."""
    for name in ("clips", "points", "frames"):
        check_positive(f"--{name}", getattr(arguments, name))
    torch.set_num_threads(arguments.threads)
    teachers = teachers_of(arguments.teachers, arguments.device)
    found = {}
    for group in arguments.groups.split(","):
        data = Synthetic(arguments.clips, group, arguments.frames, arguments.points, 256, SEED)
        tallies: dict[str, list[Tensor]] = defaultdict(list)
        with progress_bar(group, len(data), "clips") as progress:
            for index in range(len(data)):
                for name, tally in _clip(data[index], teachers, arguments).items():
                    tallies[name].append(tally)
                progress()
        found[group] = {name: scores_of(torch.stack(parts).sum(0)) for name, parts in tallies.items()}
        Console(width=110).print(_table(group, found[group]))
    return found


def _clip(
    sample: VideoSample, teachers: Sequence[Contestant], arguments: argparse.Namespace
) -> dict[str, Tensor]:
    """Tallies of one clip, by filter."""
    queries = torch.cat([sample.queries.frame[:, None].float(), sample.queries.xy], dim=-1)
    scale, rule = scale_256(sample.video), agreement_of(arguments, len(teachers))
    own = torch.arange(len(sample.video))[:, None] == sample.queries.frame
    told = {t.name: testify(t.method, sample.video, queries, checks_of(arguments)) for t in teachers}
    tallies = {}
    for name, testimony in told.items():
        for filtered, mask in (("seen", testimony.seen), ("and back", testimony.verified)):
            tallies[f"{name}: {filtered}"] = tally(sample, testimony.tracks, mask & ~own)
    for quorum in range(1, len(teachers) + 1):
        labels, _ = agree(list(told.values()), replace(rule, quorum=quorum), scale)
        tallies[f"quorum {quorum}"] = tally(sample, labels.tracks, labels.located & ~own)
        hidden = labels.labelled & ~labels.visible
        tallies[f"quorum {quorum}: hidden"] = torch.tensor(
            [hidden.sum(), (hidden & ~sample.visible).sum(), *[0] * len(WITHIN), (~sample.visible).sum()]
        ).double()
    return tallies


def tally(sample: VideoSample, tracks: Tensor, said: Tensor) -> Tensor:
    """How many labels there are, are really visible, lie within each distance; how many there could be."""
    distance = (tracks - sample.tracks).norm(dim=-1) / scale_256(sample.video)
    close = [(said & sample.visible & (distance < px)).sum() for px in WITHIN]
    later = torch.arange(len(sample.video))[:, None] != sample.queries.frame
    return torch.tensor(
        [said.sum(), (said & sample.visible).sum(), *close, (sample.visible & later).sum()]
    ).double()


def scores_of(total: Tensor) -> dict[str, float]:
    """Percent."""
    said, true, *close, possible = total.tolist()
    shares = {f"<{px:g} px": 100 * n / max(said, 1) for px, n in zip(WITHIN, close, strict=True)}
    return {
        "labels": said,
        "yield": 100 * said / max(possible, 1),
        "right kind": 100 * true / max(said, 1),
    } | shares


def _table(group: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("filter", *next(iter(rows.values())), title=f"{group}: labels against the truth, percent")
    for name, scores in rows.items():
        hidden = name.endswith("hidden")
        cells = [
            "" if hidden and key.startswith("<") else f"{value:.0f}" if key == "labels" else f"{value:.1f}"
            for key, value in scores.items()
        ]
        table.add_row(name, *cells)
    return table
