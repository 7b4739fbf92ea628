"""python -m retracker.eval benchmark=<name or all> ckpt=<path, packaged name or "untrained"> [key=value ...]

Scores a tracker (or, on pairs of images, a matcher) and baselines on a benchmark, prints one table beside
what others published, and writes results.json, table.md, curves.png and pictures of the worst items. A run
that was stopped goes on where it stopped when it is started again; torchrun shares it among processes.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from retracker.benchmarks.protocol import Benchmark, Contestant
from retracker.benchmarks.ranks import Ranks, all_ranks
from retracker.benchmarks.results import Results
from retracker.benchmarks.runner import Plan, groups_of, run, standing
from retracker.benchmarks.store import Store
from retracker.commands.contestants import contestants_of
from retracker.commands.evaluation import (
    EVERY,
    check_keys,
    check_model,
    directory_of,
    everything,
    identity_of,
    plan_of,
    progress_of,
)
from retracker.commands.provenance import versions
from retracker.commands.standings import overview_directory, publish, publish_overview
from retracker.configuration import MISTAKES, compose_config, one_line, run_command

INTERRUPTED = 130  # what shells report after Ctrl-C
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All that is known of an evaluation before its first item."""

    benchmark: Benchmark
    contestants: Sequence[Contestant]  # the one that all is about is last
    plan: Plan
    store: Store
    worst: int  # items that are drawn


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the overrides say; returns the exit code (2 after a user's mistake, told in one line)."""
    first = os.environ.get("RANK", "0") == "0"
    with contextlib.nullcontext() if first else contextlib.redirect_stderr(io.StringIO()):
        try:
            with all_ranks() as ranks:
                code = run_command(partial(command, ranks=ranks), argv)
                # torchrun kills all processes when one ends with an error: the first is to have said its own.
                ranks.together(lambda: None)
                return code
        except KeyboardInterrupt:
            sys.stderr.write("error: interrupted; the same command goes on from here\n")
            return INTERRUPTED


def command(overrides: Sequence[str], ranks: Ranks) -> None:
    """One benchmark, or all that are found."""
    given = [override for override in overrides if override != EVERY]
    cfg = compose_config("eval", given)
    check_model(given, cfg)
    if EVERY in overrides:
        evaluate_all(given, cfg, ranks)
    else:
        evaluate(cfg, ranks)


def evaluate_all(overrides: Sequence[str], cfg: DictConfig, ranks: Ranks) -> list[Results]:
    """Every benchmark whose files are there, one after the other, and one table of all of them.

    One that fails does not keep the others from being evaluated; raises ValueError at the end if any did.
    """
    found, absent = ranks.together(partial(in_one_line, partial(everything, overrides, cfg)))
    done, failed = [], {}
    for name, of_one in found.items():
        try:
            done.append(evaluate(of_one, ranks))
        except MISTAKES as error:
            failed[name] = one_line(error)
    if ranks.first:
        publish_overview(done, absent, failed, cfg.data_root, overview_directory(cfg))
    if failed:
        raise ValueError(f"{', '.join(failed)}: could not be evaluated, see above")
    return done


def evaluate(cfg: DictConfig, ranks: Ranks) -> Results:
    """Every contestant on ``cfg.benchmark``: prints the table, writes the files, returns what it came to.

    Raises ValueError or OSError for a user's mistake: an unknown baseline, a broken file of the benchmark.
    """
    this = ranks.together(partial(in_one_line, partial(prepared, cfg, ranks)))
    with this.store, progress_of(this.benchmark, this.contestants, this.plan, ranks) as watch:
        ranks.together(partial(run, this.benchmark, this.contestants, this.store, this.plan, ranks, watch))
    return ranks.together(partial(gathered, this, ranks))


def prepared(cfg: DictConfig, ranks: Ranks) -> Evaluation:
    """What is evaluated, and a folder for it, which the first process makes its own."""
    check_keys(cfg)
    torch.set_num_threads(cfg.threads)
    cv2.setNumThreads(cfg.threads)
    benchmark: Benchmark = instantiate(cfg.benchmark, _convert_="all")
    plan = plan_of(cfg, benchmark)
    contestants = contestants_of(cfg, benchmark)
    identity = identity_of(cfg, benchmark, contestants)
    store = Store(directory_of(cfg, contestants[-1], identity), keep_predictions=cfg.save_predictions)
    if ranks.first:
        store.claim(identity, overwrite=cfg.overwrite)
    return Evaluation(benchmark=benchmark, contestants=contestants, plan=plan, store=store, worst=cfg.worst)


def gathered(this: Evaluation, ranks: Ranks) -> Results:
    """What all processes found, which the first one publishes."""
    results = Results(
        benchmark=this.benchmark,
        groups=groups_of(this.benchmark, this.plan),
        standings=[standing(this.benchmark, one, this.store, this.plan) for one in this.contestants],
        of_items=len(this.benchmark),
        versions=versions(),
    )
    if ranks.first:
        publish(results, this.contestants[-1], this.plan, this.store.directory, this.worst)
    return results


def in_one_line(work: Callable[[], Done]) -> Done:
    """Do it; any mistake of the user's, Hydra's words for it among them, becomes a ValueError."""
    try:
        return work()
    except MISTAKES as error:
        raise ValueError(one_line(error)) from None


if __name__ == "__main__":
    sys.exit(main())
