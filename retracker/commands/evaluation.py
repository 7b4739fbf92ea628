"""What an evaluation is, read from its configuration: which items, by whom, kept where."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any

import numpy as np
from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retracker.benchmarks import presence
from retracker.benchmarks.protocol import Benchmark, Contestant
from retracker.benchmarks.ranks import Ranks
from retracker.benchmarks.runner import Plan, Watcher
from retracker.benchmarks.sheet import THRESHOLDS
from retracker.benchmarks.store import slug
from retracker.commands.contestants import named_baselines
from retracker.commands.methods import UNTRAINED
from retracker.commands.provenance import versions
from retracker.configuration import compose_config, config_dir
from retracker.inference.checks import check_probability

EVERY = "benchmark=all"
PRECISIONS = ("fp32", "bf16")
SAID_EVERY = 60.0  # seconds between lines of progress where there is no terminal
KINDS: MappingProxyType[str, tuple[type | UnionType, str]] = MappingProxyType(
    {
        "ckpt": (str, "a path or a packaged name"),
        "booster": (str | None, "a path or null"),
        "data_root": (str, "a folder (./2024, if that is its name)"),
        "baselines": (ListConfig | None, "a list of names, or null for the usual ones"),
        "rotations": (ListConfig, "a list of quarter turns such as [0, 1, 2, 3]"),
        "threads": (int, "a whole number"),
        "visible_threshold": (float | int | None, "a number from 0 to 1, or null"),
        "match_threshold": (float | int | None, "a number from 0 to 1, or null"),
        "limit": (int | None, "a whole number or null"),
        "worst": (int, "a whole number"),
        "quick": (bool, "true or false"),
        "check_independence": (bool, "true or false"),
        "save_predictions": (bool, "true or false"),
        "overwrite": (bool, "true or false"),
        "outputs": (str, "a folder"),
    }
)
AT_LEAST = MappingProxyType({"threads": 1, "limit": 1, "worst": 0})


def check_keys(cfg: DictConfig) -> None:
    """Raise ValueError for a value of the wrong kind."""
    for key, (kind, expected) in KINDS.items():
        if not isinstance(cfg[key], kind) or (isinstance(cfg[key], bool) and kind is not bool):
            raise ValueError(f"{key}: expected {expected}, got {cfg[key]!r}")
    for key, least in AT_LEAST.items():
        if cfg[key] is not None and cfg[key] < least:
            raise ValueError(f"{key}: expected at least {least}, got {cfg[key]}")
    for key in THRESHOLDS:
        check_probability(key, cfg[key])
    if cfg.precision not in PRECISIONS:
        raise ValueError(f"precision: expected one of {', '.join(PRECISIONS)}, got {cfg.precision!r}")
    if not (cfg.independence.videos >= 1 and cfg.independence.points >= 1):
        raise ValueError("independence: expected at least 1 video and 1 point")


def check_model(overrides: Sequence[str], cfg: DictConfig) -> None:
    """Raise ValueError for an override of the model that nobody would read: a checkpoint has its own."""
    for override in overrides:
        place = override.lstrip("+~").partition("=")[0].rpartition("@")[2]
        if cfg.ckpt != UNTRAINED and place.split(".")[0] == "model":
            raise ValueError(
                f"{override}: only ckpt={UNTRAINED} reads the model's settings, a checkpoint carries its own "
                "(visible_threshold=P and match_threshold=P take the place of its thresholds)"
            )


def everything(
    overrides: Sequence[str], common: DictConfig
) -> tuple[dict[str, DictConfig], dict[str, Sequence[str]]]:
    """The configuration of every benchmark whose files are there; and what was looked for of the others."""
    check_keys(common)
    found, absent = {}, {}
    for name in sorted(path.stem for path in (config_dir() / "benchmark").glob("*.yaml")):
        cfg = compose_config("eval", [*overrides, f"benchmark={name}"])
        needs = cfg.benchmark.get("needs")  # what is rendered needs none
        if needs and not presence.found(cfg.data_root, needs):
            absent[name] = list(needs)
            continue
        if common.paths.output_dir is not None:
            cfg.paths.output_dir = f"{common.paths.output_dir}/{name}"
        found[name] = suited(cfg)
    return found, absent


def suited(cfg: DictConfig) -> DictConfig:
    """One of many benchmarks: baselines of its kind, and on pairs of images nothing that is for videos."""
    kind = get_class(cfg.benchmark._target_).kind
    changed = {"baselines": named_baselines(cfg, kind)}
    if kind == "matcher":
        changed |= {"rotations": [0], "check_independence": False}
    return OmegaConf.merge(cfg, changed)


def plan_of(cfg: DictConfig, benchmark: Benchmark) -> Plan:
    """Which items are evaluated, and on which of them independence is checked; both spread evenly.

    Raises ValueError if there is no item, or no rule of independence.
    """
    if not len(benchmark):
        raise ValueError(f"{benchmark.name}: has no item to evaluate")
    indices = _spread(range(len(benchmark)), cfg.limit or len(benchmark))
    if not cfg.check_independence:
        return Plan(indices=indices)
    if benchmark.kind != "tracker":
        raise ValueError(f"check_independence: {benchmark.name} has no queries that could depend on others")
    alone = _spread(indices, cfg.independence.videos)
    return Plan(indices=indices, alone=alone, points_alone=cfg.independence.points)


def identity_of(cfg: DictConfig, benchmark: Benchmark, contestants: Sequence[Contestant]) -> dict[str, Any]:
    """All that the record of an item depends on."""
    told = OmegaConf.to_container(cfg.benchmark, resolve=True)
    if "root" in told and "://" not in told["root"]:
        told["root"] = os.path.abspath(told["root"])
    return {
        "benchmark": told,
        "protocol": dict(benchmark.protocol),
        "items": len(benchmark),
        "files": presence.identities(cfg.data_root, told["needs"]) if "needs" in told else [],
        "threads": cfg.threads,
        "contestants": {contestant.name: dict(contestant.settings) for contestant in contestants},
        "versions": versions(),
    }


def directory_of(cfg: DictConfig, chosen: Contestant, identity: dict[str, Any]) -> Path:
    """Where results are kept: the folder that was asked for, else one named after all that those of the
    chosen contestant depend on, so that baselines may join it later."""
    if cfg.paths.output_dir is not None:
        return Path(cfg.paths.output_dir)
    digest = digest_of({**identity, "contestants": dict(chosen.settings)})
    who = Path(cfg.ckpt).stem if "ckpt" in chosen.settings else chosen.name
    return Path(cfg.outputs) / cfg.name / f"{slug(who)}-{digest}"


def digest_of(content: dict[str, Any]) -> str:
    """A few letters that tell one content from another."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:10]


@contextmanager
def progress_of(
    benchmark: Benchmark, contestants: Sequence[Contestant], plan: Plan, ranks: Ranks
) -> Iterator[Watcher]:
    """How far this process is, on standard error: a bar on a terminal, else a line from time to time."""
    total = len(contestants) * len(ranks.share(plan.indices))
    title = benchmark.name + (f" (1 of {ranks.world_size} processes)" if ranks.world_size > 1 else "")
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not ranks.first) as progress:
        task = progress.add_task(title, total=total)
        yield lambda item: progress.update(task, advance=1, description=f"{title}: {item}")


class _Lines:
    """Says how far it is, and how long it will still take, once a minute."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.done = title, total, 0
        self.started = self.said = time.monotonic()

    def __call__(self, item: str) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.said > SAID_EVERY:
            self.said = now
            left = (now - self.started) / self.done * (self.total - self.done)
            done = f"{self.title}: {self.done} of {self.total}, {item}"
            sys.stderr.write(f"{done}; {left / 60:.0f} min to go\n")


def _spread(indices: Sequence[int], count: int) -> list[int]:
    chosen = np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)
    return [indices[i] for i in chosen]
