"""``tools/self_train.py label``: pseudo-labels for films, resumable, with an account of what was kept."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

import torch
from rich.console import Console
from rich.table import Table

from retracker.commands.shell import check_folder, complain, progress_bar, say
from retracker.commands.teachers import teacher_names, teachers_of, told
from retracker.labelling.agreement import FATES, Agreement
from retracker.labelling.cutting import Cutting
from retracker.labelling.folder import PARTS, Film, LabelFolder, as_film
from retracker.labelling.labeller import Labeller, Recipe
from retracker.labelling.testimony import Checks
from retracker.media.sources import pictures_in, videos_in

PROGRAM = "self_train label"
TEACHERS = "tiny,tiny@384,lucas_kanade"
WHY = MappingProxyType(
    {
        "kept": "labelled",
        "unseen": "no teacher sees the point",
        "no way back": "tracked back, it does not return",
        "too few": "too few teachers confirm it",
        "disputed": "teachers disagree",
        "short": "the point is confirmed in too few frames",
    }
)


def add_label_arguments(parser: argparse.ArgumentParser) -> None:
    """What ``label`` and ``run`` take."""
    parser.add_argument(
        "videos", nargs="+", help="films, folders of frames, or folders of those, at any depth"
    )
    parser.add_argument(
        "--teachers", default=TEACHERS, help="packaged names, paths, peers; @px: working size"
    )
    parser.add_argument("--frames", type=int, default=24, help="of a clip, at the film's full rate")
    parser.add_argument("--stride", type=int, help="frames between starts of clips; None: no overlap")
    parser.add_argument(
        "--clips", type=int, metavar="N", help="of each film and part, spread evenly; None: all"
    )
    parser.add_argument("--points", type=int, default=256, help="asked for in each clip")
    parser.add_argument("--size", type=int, default=384, help="clips are stored with about N x N px")
    parser.add_argument("--max-size", type=int, default=1280, help="px: longer side of what teachers see")
    parser.add_argument(
        "--held-out", type=float, default=0.1, help="share at each film's end, to validate on"
    )
    add_rule_arguments(parser)
    parser.add_argument("--part", default="1/1", help="this process's share of the films, such as 3/16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)


def add_rule_arguments(parser: argparse.ArgumentParser) -> None:
    """When a teacher is believed."""
    parser.add_argument("--cycle", type=float, default=2.0, help="px at 256 scale, of the way back")
    parser.add_argument(
        "--agree", type=float, default=1.0, help="px at 256 scale, from the median of teachers"
    )
    parser.add_argument("--confidence", type=float, default=0.5, help="of teachers that give one")
    parser.add_argument("--quorum", type=int, help="that must confirm a place; None: more than half")
    parser.add_argument("--least-frames", type=int, default=6, help="that a point must be confirmed in")


def label(arguments: argparse.Namespace, root: Path) -> LabelFolder:
    """Label all films that are not labelled yet. Damaged ones are named; raises ValueError if all are."""
    torch.set_num_threads(arguments.threads)
    recipe = recipe_of(arguments)
    films = share_of(films_in(arguments.videos), arguments.part)
    teachers = teachers_of(arguments.teachers, arguments.device)
    check_folder("--out", root)
    folder = LabelFolder(root, {"teachers": told(teachers), **asdict(recipe)})
    labeller = Labeller({teacher.name: teacher.method for teacher in teachers}, recipe, folder)
    damaged = []
    with progress_bar("labelling", None, "clips") as progress:
        for film in films:
            try:
                labeller.label(film, progress)
            except (ValueError, OSError) as error:
                complain(PROGRAM, error)
                damaged.append(film)
    report(folder, len(films), damaged)
    if len(damaged) == len(films):
        raise ValueError(f"none of the {len(films)} films could be labelled to its end")
    return folder


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Raises ValueError for a number that makes no sense."""
    return Recipe(
        cutting=Cutting(num_frames=arguments.frames, stride=arguments.stride or arguments.frames),
        points=arguments.points,
        most_clips=arguments.clips,
        max_size=arguments.max_size,
        size=arguments.size,
        least_points=max(1, arguments.points // 16),
        held_out=arguments.held_out,
        checks=checks_of(arguments),
        agreement=agreement_of(arguments, len(teacher_names(arguments.teachers))),
        seed=arguments.seed,
    )


def checks_of(arguments: argparse.Namespace) -> Checks:
    return Checks(cycle_px=arguments.cycle, confidence=arguments.confidence, attempts=3)


def agreement_of(arguments: argparse.Namespace, num_teachers: int) -> Agreement:
    return Agreement(
        agree_px=arguments.agree,
        quorum=arguments.quorum or num_teachers // 2 + 1,
        least_frames=arguments.least_frames,
    )


def films_in(given: Sequence[str]) -> list[Film]:
    """Every film below what is given, each content once. Raises ValueError or OSError if there is none."""
    paths = [path for name in given for path in _below(Path(name))]
    films = {film.name: film for film in map(as_film, paths)}
    if not films:
        raise ValueError(f"{', '.join(given)}: holds no film and no folder of frames")
    return list(films.values())


def _below(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    films, frames = videos_in(path), pictures_in(path)
    if films and frames:
        raise ValueError(f"{path}: holds films and pictures; name the films, or a folder of frames alone")
    if frames:
        return [path]
    folders = sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".")
    return [*films, *(film for folder in folders for film in _below(folder))]


def share_of(films: list[Film], part: str) -> list[Film]:
    """Every n-th film. Raises ValueError unless ``part`` is such as 3/16."""
    number, slash, total = part.partition("/")
    if not (slash and number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total)):
        raise ValueError(f"--part: expected a share such as 3/16, got {part!r}")
    return films[int(number) - 1 :: int(total)]


def report(folder: LabelFolder, num_films: int, damaged: Sequence[Film]) -> None:
    """Say what there is now, of this run and those before it."""
    console = Console(width=110, highlight=False)
    broken = f", {len(damaged)} damaged: {', '.join(f.path.name for f in damaged)}" if damaged else ""
    say(f"{num_films} films, {len(folder.films())} done to their end in all{broken}")
    table = Table("part", "clips", "kept", *("static", "blank", "too few points"), "points", "kept points")
    places: Counter[str] = Counter()
    for part in PARTS:
        records = folder.records(part)
        outcomes = Counter(record["outcome"] for record in records)
        for record in records:
            places.update(record.get("places", {}))
        counts = [outcomes[name] for name in ("kept", "static", "blank", "too few points")]
        points = [sum(record.get(key, 0) for record in records) for key in ("points", "kept points")]
        table.add_row(part, *map(str, [len(records), *counts, *points]))
    console.print(table)
    total = sum(places.values())
    if total:
        shares = "; ".join(f"{WHY[name]} {places[name] / total:.1%}" for name in FATES)
        say(f"of {total} places (points x frames): {shares}")
    say(f"labels: {folder.root}{os.sep}{{{','.join(PARTS)}}} (retracker data check tracks_folder ...)")
