"""python -m retracker.eval benchmark=<name> ckpt=<path, packaged name or "untrained"> [key=value ...]

Scores a tracker and the baselines on the clips of a benchmark, prints one table and writes it to
``paths.output_dir`` (table.md, scores.json, and with pictures=true overlays of the worst and best clips).
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, UnionType

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from retracker import checkpoint
from retracker.benchmarks import report
from retracker.benchmarks.baselines import BASELINES
from retracker.benchmarks.pictures import Extremes
from retracker.benchmarks.protocol import Clips, Tracked, Tracker
from retracker.benchmarks.runner import ClipScore, run
from retracker.configuration import compose_config, run_command
from retracker.inference import clip

OURS = "ReTracker"
UNTRAINED = "untrained"
KINDS: Mapping[str, tuple[type | UnionType, str]] = MappingProxyType(
    {
        "ckpt": (str, "a path or a packaged name"),
        "data_root": (str | None, "a folder (./2024, if that is its name)"),
        "baselines": (ListConfig, "a list of names"),
    }
)
TABLE_WIDTH = 120  # columns, where standard output is a file and has no width of its own


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the overrides say; returns the exit code (2 after a user's mistake, told in one line)."""
    return run_command(lambda overrides: evaluate(compose_config("eval", overrides)), argv)


def evaluate(cfg: DictConfig) -> list[report.Row]:
    """Every tracker on every clip of ``cfg.benchmark``: prints the table, writes the files, returns the rows.

    Raises ValueError or OSError for a user's mistake: an unknown baseline, checkpoint or device.
    """
    check_keys(cfg)
    trackers = {name: baseline_of(name) for name in cfg.baselines} | {OURS: tracker_of(cfg)}
    groups = groups_of(cfg)
    output = Path(cfg.paths.output_dir)
    output.mkdir(parents=True, exist_ok=True)  # before the work: where nothing can be written, none is done
    extremes = Extremes(OURS)
    scores = run_watched(cfg, trackers, groups, extremes)
    rows = report.rows_of(scores)
    title = f"{cfg.benchmark.name}{' (quick)' if cfg.benchmark.quick else ''}: {cfg.ckpt}"
    console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)
    console.print(report.table_of(rows, title))
    report.write(scores, rows, title, output)
    for path in extremes.write(output / "pictures") if cfg.pictures else []:
        console.print(path, soft_wrap=True, highlight=False)
    return rows


def check_keys(cfg: DictConfig) -> None:
    """Raise ValueError for a value of the wrong kind, FileNotFoundError if there is no ``data_root``."""
    for key, (kind, expected) in KINDS.items():
        if not isinstance(cfg[key], kind):
            raise ValueError(f"{key}: expected {expected}, got {cfg[key]!r}")
    if cfg.data_root is not None and "://" not in cfg.data_root and not Path(cfg.data_root).is_dir():
        raise FileNotFoundError(f"data_root: there is no directory {cfg.data_root}")
    if cfg.baselines and cfg.benchmark.query_mode == "strided":
        raise ValueError(
            "baselines: none of them tracks back in time, as strided queries need; say baselines=[]"
        )


def groups_of(cfg: DictConfig) -> dict[str, Clips]:
    """The clips of the benchmark by group; raises ValueError if there is none."""
    groups = instantiate(cfg.benchmark.groups, _convert_="all")
    if not any(map(len, groups.values())):
        raise ValueError(f"benchmark.groups: no clip to evaluate in {cfg.benchmark.name}")
    return groups


def run_watched(
    cfg: DictConfig, trackers: dict[str, Tracker], groups: dict[str, Clips], extremes: Extremes
) -> list[ClipScore]:
    """``run`` with a progress bar on standard error, and an eye on the worst and best clips if wanted."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("clips", total=len(trackers) * sum(map(len, groups.values())))
        watch = [lambda *_: progress.advance(task), *([extremes] if cfg.pictures else [])]
        return run(trackers, groups, cfg.benchmark.query_mode, watch)


def baseline_of(name: str) -> Tracker:
    if name not in BASELINES:
        raise ValueError(f"baselines: there is no {name!r}; there are {', '.join(BASELINES)}")
    return BASELINES[name]


def tracker_of(cfg: DictConfig) -> Tracker:
    """The net that ``cfg.ckpt`` names, as a callable of a video and queries."""
    net = untrained(cfg) if cfg.ckpt == UNTRAINED else checkpoint.load(cfg.ckpt)
    net = net.to(device_of(cfg.device)).eval()
    backward = cfg.benchmark.query_mode == "strided"  # these queries have a past to be found, too

    def track(video: Tensor, queries: Tensor) -> Tracked:
        found = clip.track(net, video, queries, backward=backward)
        return Tracked(tracks=found.tracks, visible=found.visible, confidence=found.confidence)

    return track


def untrained(cfg: DictConfig) -> nn.Module:
    """``cfg.model`` before its first step: random head, pretrained backbone."""
    torch.manual_seed(cfg.seed)
    net = checkpoint.build_net(OmegaConf.to_container(cfg.model, resolve=True))
    checkpoint.load_backbone_weights(net, cfg.pretrained, Path(cfg.paths.cache_dir))
    return net


def device_of(name: str) -> torch.device:
    """The device to run on; "auto" is the GPU if there is one. Raises ValueError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        raise ValueError(f"device: {name!r} cannot be used here; try device=cpu") from error
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
