"""The trackers that label films: checkpoints of our own, and the peers of configs/tracker, by name."""

from collections.abc import Sequence
from pathlib import Path

from hydra.errors import InstantiationException
from omegaconf import OmegaConf
from torch import Tensor, nn

from retracker import checkpoint
from retracker.benchmarks.protocol import Contestant, Tracked
from retracker.commands.contestants import contestant_of
from retracker.commands.provenance import file_digest
from retracker.commands.shell import load_model
from retracker.configuration import config_dir
from retracker.inference.clip import track
from retracker.media.files import existing_file

OURS = "retracker"  # of configs/tracker: named here by its checkpoint
YAML = ".yaml"  # a file such as those of configs/tracker, with settings of its own
AT = "@"  # tiny@384: the same net at that working size


def teachers_of(words: str, device: str) -> list[Contestant]:
    """The teachers that a list such as ``tiny,tiny@384,lucas_kanade,runs/last.ckpt`` names.

    Raises ValueError or OSError, in one sentence, for one that there is not or that cannot be loaded.
    """
    return [_teacher(name, device) for name in teacher_names(words)]


def teacher_names(words: str) -> list[str]:
    """The different names of a list. Raises ValueError if there is none."""
    names = list(dict.fromkeys(word.strip() for word in words.split(",") if word.strip()))
    if not names:
        raise ValueError("--teachers: expected at least one, such as tiny,lucas_kanade")
    return names


def known_peers() -> list[str]:
    """The trackers of others that can teach."""
    return sorted(path.stem for path in (config_dir() / "tracker").glob("*.yaml") if path.stem != OURS)


def _teacher(name: str, device: str) -> Contestant:
    peer = Path(name) if name.endswith(YAML) else config_dir() / "tracker" / f"{name}{YAML}"
    if name in known_peers() or name.endswith(YAML):
        return _peer(peer, device)
    ckpt, at, size = name.rpartition(AT)
    ckpt = ckpt if at and size.isdecimal() else name
    image_size = int(size) if ckpt != name else None
    try:
        path = checkpoint.resolve(ckpt)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"--teachers: {error}, or one of {', '.join(known_peers())}") from error
    method = NetTeacher(load_model(ckpt, device), image_size)
    settings = {"sha256": file_digest(path), "image_size": image_size}
    return Contestant(name=_short(name), method=method, settings=settings)


def _peer(path: Path, device: str) -> Contestant:
    """What a yaml describes. All queries are asked for together: one by one is TAP-Vid's rule, not ours."""
    cfg = OmegaConf.create({"device": device})
    cfg.tracker = OmegaConf.load(existing_file(path))
    if OmegaConf.select(cfg, "tracker.method.settings.single_point") is not None:
        cfg.tracker.method.settings.single_point = False
    OmegaConf.resolve(cfg)
    try:
        return contestant_of(cfg.tracker)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        raise


def _short(name: str) -> str:
    """A name for tables and records: of a path only where it ends."""
    return "/".join(Path(name).parts[-2:])


class NetTeacher:
    """A net of ours as a plain tracker, positions refined at the full resolution of what it is given."""

    def __init__(self, net: nn.Module, image_size: int | None) -> None:
        self.net, self.image_size = net, image_size

    def __call__(self, video: Tensor, queries: Tensor) -> Tracked:
        found = track(self.net, video, queries, image_size=self.image_size)
        return Tracked(tracks=found.tracks, visible=found.visible, confidence=found.confidence)


def told(teachers: Sequence[Contestant]) -> dict[str, object]:
    """What labels depend on of their teachers, for the record."""
    return {teacher.name: dict(teacher.settings) for teacher in teachers}
