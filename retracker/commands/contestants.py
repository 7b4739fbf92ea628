"""Who competes: the contestants that a configuration names, each with all that it was built from."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from retracker.benchmarks.protocol import Benchmark, Contestant
from retracker.benchmarks.rotations import rotated
from retracker.commands.methods import UNTRAINED, checkpoint_sha256
from retracker.commands.provenance import code_digest, file_digest
from retracker.configuration import config_dir

KINDS = ("tracker", "matcher")
NOT_TOLD = ("_partial_", "device", "cache_dir")  # where it runs is no part of what it is
WEIGHTS = "weights"  # the setting of a part that names a checkpoint
DIGITS = 16  # of the digest of a file or folder that a setting names
OF_UNTRAINED = ("model", "pretrained", "seed")  # a checkpoint carries its own


def contestants_of(cfg: DictConfig, benchmark: Benchmark) -> list[Contestant]:
    """The baselines, then the contestant that was chosen; raises ValueError for an unknown baseline."""
    names = benchmark.usual_baselines if cfg.baselines is None else cfg.baselines
    chosen = rotating(contestant_of(cfg[benchmark.kind]), cfg, benchmark)
    others = [contestant_of(node_of(name, benchmark.kind, cfg)) for name in dict.fromkeys(names)]
    return [*(other for other in others if other.name != chosen.name), chosen]


def contestant_of(node: DictConfig) -> Contestant:
    """What a yaml of configs/tracker or configs/matcher describes."""
    return replace(instantiate(node, _convert_="all"), settings=settings_of(node))


def settings_of(node: DictConfig) -> dict[str, Any]:
    """All that a contestant was built from; files by name and content, not by where they lie."""
    settings = OmegaConf.to_container(node.method, resolve=True)
    trained = "ckpt" in settings and settings["ckpt"] != UNTRAINED
    left_out = (*NOT_TOLD, *(OF_UNTRAINED if trained else ()))
    told = {key: value for key, value in settings.items() if key not in left_out}
    if trained:
        told |= {"ckpt": Path(settings["ckpt"]).name, "sha256": checkpoint_sha256(settings["ckpt"])}
    return {key: placeless(value) for key, value in told.items()}


def placeless(value: Any) -> Any:
    """A setting, or many of them; of a path only its last part, and a digest of what lies there."""
    if isinstance(value, Mapping):
        told = {key: placeless(part) for key, part in value.items() if key not in NOT_TOLD}
        if WEIGHTS in value:
            told |= {WEIGHTS: Path(value[WEIGHTS]).name, "sha256": checkpoint_sha256(value[WEIGHTS])}
        return told
    path = Path(value) if isinstance(value, str) and "/" in value else None
    if path is None or not path.exists():
        return value
    digest = code_digest(path) if path.is_dir() else file_digest(path)
    return f"{path.name}, sha256 {digest[:DIGITS]}"


def named_baselines(cfg: DictConfig, kind: str) -> list[str] | None:
    """Those of ``cfg.baselines`` that are of a kind, where both kinds are evaluated; None: the usual ones.

    Raises ValueError for a name that neither kind has.
    """
    if not cfg.baselines:  # the usual ones, or none at all
        return None if cfg.baselines is None else []
    known = {each: sorted(path.stem for path in (config_dir() / each).glob("*.yaml")) for each in KINDS}
    for name in cfg.baselines:
        if not any(name in names for names in known.values()):
            there = "; ".join(f"{each}s: {', '.join(names)}" for each, names in known.items())
            raise ValueError(f"baselines: there is no {name!r}; there are {there}")
    return [name for name in cfg.baselines if name in known[kind]] or None


def node_of(name: str, kind: str, cfg: DictConfig) -> DictConfig:
    """The yaml of a baseline, with its references into the rest of the configuration resolved."""
    folder = config_dir() / kind
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise ValueError(f"baselines: there is no {kind} {name!r}; there are {', '.join(known)}")
    whole = OmegaConf.merge(cfg, {kind: OmegaConf.create({})})
    whole[kind] = OmegaConf.load(folder / f"{name}.yaml")
    OmegaConf.resolve(whole)
    return whole[kind]


def rotating(contestant: Contestant, cfg: DictConfig, benchmark: Benchmark) -> Contestant:
    """The contestant with test-time augmentation, if it is asked for; its name says so."""
    turns: Sequence[int] = list(cfg.rotations)
    if turns == [0]:
        return contestant
    if benchmark.kind != "tracker":
        raise ValueError(f"rotations: {benchmark.name} has pairs of images, and only videos are rotated")
    return Contestant(
        name=f"{contestant.name} x {len(turns)} rotations",
        method=rotated(contestant.method, turns),
        settings={**contestant.settings, "rotations": turns},
    )
