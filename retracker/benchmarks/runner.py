"""Run contestants over the items of a benchmark: in parallel, to be gone on with, and always the same."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch

from retracker.benchmarks.protocol import Benchmark, Contestant, Scores
from retracker.benchmarks.ranks import Ranks
from retracker.benchmarks.results import Independence, Standing, summaries_of
from retracker.benchmarks.store import Record, Store, slug

SEED = 0  # before every answer and every score, so that they depend on no other


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What of a benchmark is evaluated."""

    indices: Sequence[int]  # its items
    alone: Sequence[int] = ()  # of those, where points are also asked for one by one
    points_alone: int = 0  # how many of each


Watcher = Callable[[str], None]  # called with the item of each answer


def run(
    benchmark: Benchmark,
    contestants: Sequence[Contestant],
    store: Store,
    plan: Plan,
    ranks: Ranks,
    watch: Watcher,
) -> None:
    """Evaluate this process's share; what the store has already is left as it is. An item is read once.

    Raises what reading an item raises, and ValueError for a malformed answer; all that was done is kept.
    """
    for index in ranks.share(plan.indices):
        wanted = [c for c in contestants if missing(store, plan, c.name, index)]
        item = benchmark.read(index) if wanted else None
        for contestant in contestants:
            if contestant in wanted:
                evaluate(benchmark, contestant, item, index, store, plan, ranks.rank)
            watch(benchmark.item_name(index))


def missing(store: Store, plan: Plan, contestant: str, index: int) -> bool:
    """Whether an item is still to be done."""
    record = store.record(contestant, index)
    return record is None or (index in plan.alone and record.points_alone != plan.points_alone)


def evaluate(
    benchmark: Benchmark, contestant: Contestant, item, index: int, store: Store, plan: Plan, rank: int
) -> None:
    """One contestant on one item: ask, score, keep."""
    answer, seconds = timed(benchmark, contestant, item)
    settle()
    scores = benchmark.score(item, answer)
    departure, points_alone = None, plan.points_alone if index in plan.alone else 0
    if points_alone:
        departure = benchmark.departure(partial(answered, benchmark, contestant), item, answer, points_alone)
    record = Record(
        item=benchmark.item_name(index), scores=scores, departure=departure, points_alone=points_alone
    )
    arrays = benchmark.arrays(item, answer) if store.keep_predictions else {}
    store.keep(contestant.name, index, record, arrays)
    store.note_time(rank, contestant.name, benchmark.size(item), seconds)


def timed(benchmark: Benchmark, contestant: Contestant, item):
    """A contestant's answer, and the seconds that it took."""
    started = time.perf_counter()
    answer = answered(benchmark, contestant, item)
    return answer, time.perf_counter() - started


def answered(benchmark: Benchmark, contestant: Contestant, item):
    """A contestant's answer, the same however often it is asked for."""
    settle()
    return benchmark.ask(contestant.method, item)


def settle() -> None:
    """Seed everything that draws random numbers: RANSAC, and whatever a peer does."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    cv2.setRNGSeed(SEED)


def standing(benchmark: Benchmark, contestant: Contestant, store: Store, plan: Plan) -> Standing:
    """What a contestant reached on all items of the plan, from the records of all processes.

    Raises FileNotFoundError if one is missing: the processes did not share a folder.
    """
    scores: dict[str, Scores] = {}
    departures = []
    for index in plan.indices:
        record = store.record(contestant.name, index)
        if record is None:
            raise FileNotFoundError(
                f"{store.directory}: lacks {contestant.name} on {benchmark.item_name(index)}; "
                f"do all processes write into the same folder?"
            )
        scores[record.item] = record.scores
        departures += [record.departure] if index in plan.alone else []
    return Standing(
        name=contestant.name,
        settings=contestant.settings,
        scores=scores,
        summaries=summaries_of(benchmark, scores, groups_of(benchmark, plan)),
        independence=Independence(
            largest_px=max(departures), videos=len(departures), points=plan.points_alone
        )
        if departures
        else None,
        per_second=store.per_second(contestant.name),
    )


def groups_of(benchmark: Benchmark, plan: Plan) -> dict[str, str]:
    """The group of each item of the plan, by name."""
    return {benchmark.item_name(index): benchmark.group(index) for index in plan.indices}


def draw_worst(
    benchmark: Benchmark,
    contestant: Contestant,
    plan: Plan,
    scores: dict[str, Scores],
    count: int,
    folder: Path,
) -> list[Path]:
    """Pictures of the items on which a contestant did worst, the worst first; each is asked for again."""
    indices = {benchmark.item_name(index): index for index in plan.indices}
    ranks = {name: scores[name][benchmark.ranked_by] for name in indices}
    known = sorted((name for name in indices if not np.isnan(ranks[name])), key=ranks.__getitem__)
    shutil.rmtree(folder, ignore_errors=True)  # there may be pictures of a run of fewer items
    folder.mkdir(parents=True)
    paths = []
    for place, name in enumerate(known[:count], start=1):
        item = benchmark.read(indices[name])
        answer, _ = timed(benchmark, contestant, item)
        paths.append(benchmark.picture(item, answer, folder / f"{place:02d}_{slug(name)}"))
    return paths
