"""From where a training goes on, and that it writes over nothing that another one left."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from retracker.checkpoint import build_net, fitted, newest_valid, read_torch, resolve, same_net
from retracker.checkpoint_files import LAST, steps_of, survey, torn
from retracker.configuration import RunFailed
from retracker.training.resume import check_resumable
from retracker.training.run_record import FILE, read_record

log = logging.getLogger(__name__)


def checkpoint_to_resume(cfg: DictConfig) -> str | None:
    """The checkpoint that ``resume`` names: none, the newest valid one of the output directory, or a path.

    Raises ValueError if it is no checkpoint of a training, or one of another model, or if a run that does not
    go on from there would write over the states of another one.
    """
    directory = Path(cfg.paths.output_dir) / "checkpoints"
    if cfg.resume is None:
        check_empty(directory)
        return None
    if not isinstance(cfg.resume, str):
        raise ValueError(f"resume: expected null, auto or the path of a .ckpt file, got {cfg.resume!r}")
    with read_or_retried():
        found = newest_sound(directory) if cfg.resume == "auto" else named(resolve(cfg.resume), directory)
        if found is None:
            return None
        with torch.device("meta"):  # of this net only names and shapes are asked for
            check_resumable(found, build_net(OmegaConf.to_container(cfg.model, resolve=True)))
    return str(found)


@contextmanager
def read_or_retried() -> Iterator[None]:
    """A checkpoint that cannot be read just now is no mistake of the user's: raises RunFailed."""
    try:
        yield
    except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
        raise
    except OSError as error:
        raise RunFailed(
            f"a checkpoint could not be read ({error}): nothing was changed; start again"
        ) from error


def newest_sound(directory: Path) -> Path | None:
    """The checkpoint that resume=auto goes on from. Damaged ones are put out of its way."""
    found, damaged = survey(directory)
    for path, fault in damaged.items():
        log.warning("resume=auto: passed over %s", fault)
        if (
            rank_zero_only.rank == 0 and LAST.fullmatch(path.name) and torn(path)
        ):  # or it would be handed down
            path.replace(path.with_name(f"{path.name}.damaged"))
    log.info("resume=auto: %s", found or "nothing to resume from, starting afresh")
    return found


def named(path: Path, directory: Path) -> Path:
    """The checkpoint that ``resume`` names, or what this run has made of it when it is started again."""
    if path.parent.resolve() != directory.resolve() and not went_on_from(path, directory.parent):
        check_empty(directory)
    if path.suffix != ".ckpt" or not went_on_from(path, directory.parent):
        return path
    newer = newest_sound(directory)
    if newer is None or steps_of(newer) <= steps_of(path):
        return path
    log.warning("resume: this run went on from %s before; going on from %s", path, newer)
    return newer


def went_on_from(path: Path, run: Path) -> bool:
    """Whether a run was started from a checkpoint before."""
    record = read_record(run / FILE)
    starts = record["starts"] if record else []
    before = [Path(start["folder"], start["resumed_from"]) for start in starts if start["resumed_from"]]
    return path.resolve() in [each.resolve() for each in before]


def check_empty(directory: Path) -> None:
    """Raise ValueError if a fresh run would write over the states of another one."""
    kept = [path.name for path in sorted(directory.glob("*.ckpt")) if LAST.fullmatch(path.name)]
    kept += ["best.ckpt"] if (directory / "best.ckpt").exists() else []
    if kept:
        raise ValueError(
            f"{directory}: holds {', '.join(kept)} of another run: say resume=auto to go on with it, or "
            "start elsewhere with another paths.output_dir=<folder> or RETRACKER_DATE=<name>"
        )


def run_to_resume(cfg: DictConfig) -> Path | None:
    """The output directory of the newest earlier run of the same name and the same net, if there is one.

    Every start has an output directory of its own, named after its date, unless the user names one. Raises
    ValueError if the newest one has nothing but damaged checkpoints: an older one is not what was meant.
    """
    output = Path(cfg.paths.output_dir)
    if output.name != cfg.paths.date:
        return None
    net_config = fitted(OmegaConf.to_container(cfg.model))
    runs = {path.parents[1] for path in output.parent.glob("*/checkpoints/*.ckpt*")}
    with read_or_retried():
        for run in sorted(runs, key=last_sign_of, reverse=True):
            found = newest_valid(run / "checkpoints")
            if found is None:
                raise ValueError(
                    f"resume=auto: no checkpoint of {run}, the newest run of this name, can be loaded; to "
                    f"go on from another one say resume=<path>, else resume=null, or move {run} away"
                )
            if same_net(net_config, read_torch(found, mmap=True).get("net_config", {})):
                return run
    return None


def last_sign_of(run: Path) -> float:
    """When a run was last heard of: as it says itself, or else, since copies are newer, as its files do."""
    record = read_record(run / FILE)
    said = [start["ended"] or start["started"] for start in record["starts"]] if record else []
    if said:
        return datetime.fromisoformat(said[-1]).timestamp()
    return max(path.stat().st_mtime for path in (run / "checkpoints").glob("*.ckpt*"))
