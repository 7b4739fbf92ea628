"""Where results go: the table on the terminal, and the files of a run."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from retracker.benchmarks import published, report
from retracker.benchmarks.protocol import Contestant
from retracker.benchmarks.results import Results, as_json
from retracker.benchmarks.runner import Plan, draw_worst
from retracker.benchmarks.store import slug
from retracker.commands.evaluation import digest_of
from retracker.media.files import replacing

TABLE_WIDTH = 120  # columns, where standard output is a file and has no width of its own


def publish(results: Results, chosen: Contestant, plan: Plan, directory: Path, worst: int) -> None:
    """Print the table, write results.json, table.md, curves.png and timing.json, draw the worst items."""
    console, rows = terminal(), published.load()
    console.print(report.table_of(results, rows))  # first: it is seen even if nothing can be written
    with replacing(directory / "results.json") as path:
        path.write_text(json.dumps(as_json(results), indent=1) + "\n")
    with replacing(directory / "table.md") as path:
        path.write_text(report.markdown_of(results, rows))
    with replacing(directory / "timing.json") as path:
        path.write_text(json.dumps({s.name: {"per_second": s.per_second} for s in results.standings}) + "\n")
    if results.benchmark.curves:
        report.write_curves(results, directory / "curves.png")
    scores = results.standings[-1].scores
    drawn = draw_worst(results.benchmark, chosen, plan, scores, worst, directory / "worst") if worst else []
    for path in [directory / "results.json", *drawn]:
        console.print(path, soft_wrap=True, highlight=False, markup=False)


def publish_overview(
    done: Sequence[Results],
    absent: Mapping[str, Sequence[str]],
    failed: Mapping[str, str],
    data_root: str,
    directory: Path,
) -> None:
    """Print and write the one table of all benchmarks, and say of which there is no number, and why."""
    console = terminal()
    if done:
        table, markdown = report.overview_of(list(done), published.load())
        console.print(table)
        with replacing(directory / "overview.md") as path:
            path.write_text(markdown)
        console.print(directory / "overview.md", soft_wrap=True, highlight=False, markup=False)
    for name, needs in absent.items():
        console.print(
            f"{name}: not in {data_root} ({' or '.join(needs)})",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )
    for name, mistake in failed.items():
        sys.stderr.write(f"{name}: {mistake}\n")


def overview_directory(cfg: DictConfig) -> Path:
    """Where the table of all benchmarks is written: each configuration has its own."""
    if cfg.paths.output_dir is not None:
        return Path(cfg.paths.output_dir)
    configured = OmegaConf.to_container(cfg, resolve=True)
    del configured["paths"]  # which has the time
    return Path(cfg.outputs) / "eval_all" / f"{slug(Path(cfg.ckpt).stem)}-{digest_of(configured)}"


def terminal() -> Console:
    """Standard output, of a width that the table fits in."""
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
