"""python tools/compare_results.py RUN_A RUN_B: what changed between two evaluations; is it more than noise?

A run is a results.json or the folder that holds it. Prints the items that changed, the difference of the
scores and how sure it is: a paired bootstrap over items (95 % interval, two-sided p). With two names behind
--contestant, A and B may be one run: --contestant lucas_kanade ReTracker.
"""

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from retracker.benchmarks.item_scores import ItemScores, item_scores
from retracker.benchmarks.results import restored
from retracker.media.files import existing_file, replacing
from retracker.metrics.bootstrap import Difference, paired_bootstrap

SHOWN_NAMES = 5
FEW = 10  # items: with fewer, resamples are too alike to say much


@dataclass(frozen=True, kw_only=True)
class Run:
    """One contestant's part of a results.json."""

    path: Path
    content: dict
    contestant: str

    @property
    def items(self) -> dict[str, dict[str, float]]:
        scores = self.content["contestants"][self.contestant]["items"]
        return {name: restored(of_item) for name, of_item in scores.items()}

    @property
    def means(self) -> dict[str, float]:
        return restored(self.content["contestants"][self.contestant]["means"]["all"])


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs on the items that both were scored on."""

    metric: str
    heading: str
    scale: float  # 100 for what is shown in percent
    higher_is_better: bool
    names: list[str]
    a: ItemScores
    b: ItemScores
    left_out: dict[str, list[str]]  # why, and which items
    difference: Difference

    @property
    def verdict(self) -> str:
        """One sentence."""
        if (self.a.shown == self.b.shown).all() and self.difference.observed == 0:
            return f"identical: no item differs in {self.heading}"
        difference = self.difference
        sign = self.scale * (1 if self.higher_is_better else -1)
        gain = sign * difference.observed
        if gain < 0:  # then its size, and that of its interval, is how much worse
            sign = -sign
        low, high = sorted((sign * difference.low, sign * difference.high))
        word = "better" if gain > 0 else "worse" if gain < 0 else "no better"
        judged = "more than noise" if difference.beyond_noise else "no more than noise"
        judged += f", as far as {len(self.names)} items can tell" if len(self.names) < FEW else ""
        return (
            f"B is {word} by {abs(gain):.2f} {self.heading} (95 % {low:.2f} … {high:.2f}, "
            f"p {difference.p:.2g}): {judged}"
        )


def main(argv: list[str] | None = None) -> int:
    """Compare and say so; returns the exit code."""
    arguments = parse(argv)
    try:
        a, b = runs_of(arguments)
        found = compare(a, b, arguments)
        sys.stdout.write(told(found, a, b, arguments.top))
        if arguments.json is not None:
            with replacing(arguments.json) as path:
                path.write_text(json.dumps(as_json(found, a, b), indent=1) + "\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"compare_results: {error}\n")
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("a", type=Path, help="results.json of a run, or its folder")
    parser.add_argument("b", type=Path, help="the run that is compared with it")
    parser.add_argument("--contestant", nargs="+", default=[], help="whose scores (one name, or A's and B's)")
    parser.add_argument("--metric", help="such as average_jaccard, exact_auc_10; without: the main one")
    parser.add_argument("--samples", type=int, default=10_000, help="resamples of the bootstrap")
    parser.add_argument("--seed", type=int, default=0, help="of the resamples")
    parser.add_argument("--top", type=int, default=10, help="how many changed items are listed")
    parser.add_argument("--force", action="store_true", help="compare although the protocols differ")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    return parser.parse_args(argv)


def runs_of(arguments: argparse.Namespace) -> tuple[Run, Run]:
    """Both runs. Raises ValueError if there is no such contestant, or they cannot be compared."""
    names = arguments.contestant
    if len(names) > 2:
        raise ValueError(f"--contestant: expected one name or two, got {len(names)}")
    chosen = (names[0], names[-1]) if names else (None, None)
    a, b = (read(path, name) for path, name in zip((arguments.a, arguments.b), chosen, strict=True))
    if a.content["benchmark"] != b.content["benchmark"]:
        raise ValueError(
            f"A is of the benchmark {a.content['benchmark']}, B of {b.content['benchmark']}: "
            f"they cannot be compared"
        )
    rules_a, rules_b = a.content["protocol"], b.content["protocol"]
    other = [key for key in {**rules_a, **rules_b} if rules_a.get(key) != rules_b.get(key)]
    if other and not arguments.force:
        key = other[0]
        raise ValueError(
            f"the protocols differ in {', '.join(other)} ({key}: {rules_a.get(key)} in A, {rules_b.get(key)} "
            f"in B); --force compares nevertheless"
        )
    return a, b


def read(path: Path, contestant: str | None) -> Run:
    """A run as it is on disk; without a name: the contestant that the run was about, its last."""
    path = existing_file(path / "results.json" if path.is_dir() else path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not json ({error})") from error
    wanted = {"benchmark", "protocol", "ranked_by", "contestants"}
    if not isinstance(content, dict) or not wanted <= set(content) or not content["contestants"]:
        raise ValueError(f"{path}: is not the results.json of an evaluation")
    contestants = list(content["contestants"])
    if contestant is not None and contestant not in contestants:
        raise ValueError(f"{path}: has no contestant {contestant!r}; there are {', '.join(contestants)}")
    return Run(path=path, content=content, contestant=contestant or contestants[-1])


def compare(a: Run, b: Run, arguments: argparse.Namespace) -> Comparison:
    """Everything there is to say. Raises ValueError if the runs share no item, or have no such metric."""
    metric = arguments.metric or main_metric(a)
    items_a, items_b = a.items, b.items
    common = [name for name in items_a if name in items_b]
    only = {
        "only in A": [name for name in items_a if name not in items_b],
        "only in B": [name for name in items_b if name not in items_a],
    }
    if not common:
        missing = ", ".join(only["only in A"][:SHOWN_NAMES])
        raise ValueError(f"the runs share no item: {b.path} lacks {missing} ...")
    try:
        scores = [
            item_scores([items[name] for name in common], metric, run.means)
            for items, run in ((items_a, a), (items_b, b))
        ]
    except ValueError as error:
        raise ValueError(f"--metric: {error}") from error
    defined = np.logical_and(*(of_run.defined for of_run in scores))
    undefined = [name for name, fine in zip(common, defined, strict=True) if not fine]
    scores = [of_run.at(defined) for of_run in scores]
    shown = a.content.get("columns", {}).get(metric, {})
    return Comparison(
        metric=metric,
        heading=shown.get("heading", metric),
        scale=100.0 if shown.get("percent", True) else 1.0,
        higher_is_better=shown.get("better", "higher") == "higher",
        names=[name for name, fine in zip(common, defined, strict=True) if fine],
        a=scores[0],
        b=scores[1],
        left_out={why: names for why, names in (only | {"undefined": undefined}).items() if names},
        difference=paired_bootstrap(
            scores[0].measure,
            scores[1].measure,
            arguments.samples,
            np.random.default_rng(arguments.seed),
        ),
    )


def main_metric(run: Run) -> str:
    """What papers report: the area for poses and homographies, else what items are ranked by."""
    areas = [metric for metric in run.means if metric.startswith("exact_auc_")]
    return areas[0] if areas else run.content["ranked_by"]


def changes(found: Comparison) -> list[tuple[str, float, float, float]]:
    """Name, A, B and B - A of the items that differ, those that differ most first."""
    scale = found.scale if found.a.label == found.metric else 1.0
    rows = []
    for name, a, b in zip(found.names, scale * found.a.shown, scale * found.b.shown, strict=True):
        if a != b:
            rows.append((name, float(a), float(b), float(b - a)))
    return sorted(rows, key=lambda row: -abs(row[-1]))


def told(found: Comparison, a: Run, b: Run, top: int) -> str:
    """The comparison in words."""
    changed = changes(found)
    listed = changed[: max(top, 0)]
    width = max([len(name) for name, *_ in listed], default=0)
    lines = [
        f"{a.content.get('title', a.content['benchmark'])}: {found.heading}",
        f"A: {a.contestant}, {a.path}",
        f"B: {b.contestant}, {b.path}",
        *(f"left out, {why}: {named(names)}" for why, names in found.left_out.items()),
        f"{len(changed)} of {len(found.names)} items differ in {found.a.label}" + (":" if listed else ""),
        *(f"  {name:<{width}}  {x:9.3f} {y:9.3f} {gap:+9.3f}" for name, x, y, gap in listed),
        *([f"  and {len(changed) - len(listed)} more"] if len(changed) > len(listed) else []),
    ]
    difference, scale = found.difference, found.scale
    low, high = scale * difference.low, scale * difference.high
    lines += [
        f"A {scale * found.a.measure.score:.3f}, B {scale * found.b.measure.score:.3f}",
        f"B - A {scale * difference.observed:+.3f} (95 % {low:+.3f} … {high:+.3f})",
        f"two-sided p {difference.p:.2g}; B is above A in {difference.share_above:.1%} of the resamples",
    ]
    return "\n".join([*lines, found.verdict]) + "\n"


def named(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"{', '.join(names[:SHOWN_NAMES])}{more}"


def as_json(found: Comparison, a: Run, b: Run) -> dict:
    """The comparison for machines; scores as they are kept, not in percent."""
    return {
        "benchmark": a.content["benchmark"],
        "metric": found.metric,
        "a": {"contestant": a.contestant, "score": found.a.measure.score},
        "b": {"contestant": b.contestant, "score": found.b.measure.score},
        "items": len(found.names),
        "left_out": found.left_out,
        "difference": asdict(found.difference),
        "verdict": found.verdict,
        "changed_in": found.a.label,
        "changed": [{"item": name, "a": finite(x), "b": finite(y)} for name, x, y, _ in changes(found)],
    }


def finite(value: float) -> float | str:
    return "inf" if math.isinf(value) else value


if __name__ == "__main__":
    sys.exit(main())
