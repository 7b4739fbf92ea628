"""The known data sets: what configs/dataset says of each, and how one is opened by its name."""

from collections.abc import Iterator, Sequence
from itertools import takewhile

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch.utils.data import Dataset

from retracker.configuration import config_dir

FOLDER = "dataset"  # of configs/
SURROUNDINGS = (
    "data_root",
    "cache.limit_gb",
    "cache.folder",
    "seed",
)  # of a training, which data sets refer to


def known_data_sets() -> dict[str, str]:
    """Name and first comment of each yaml."""
    files = sorted((config_dir() / FOLDER).glob("*.yaml"))
    return {file.stem: _comment(file.read_text()) for file in files}


def _comment(yaml: str) -> str:
    """The comment that a yaml begins with, in one line."""
    lines = takewhile(lambda line: line.startswith("#"), yaml.splitlines())
    return " ".join(line.lstrip("# ") for line in lines)


def open_data_set(name: str, root: str | None, overrides: Sequence[str]) -> Dataset:
    """The data set that configs/dataset/<name>.yaml describes, with ``key=value`` overrides.

    It lies at ``root``; without one, where a training would look for it.
    Raises ValueError or OSError, in one sentence, for a name, a key, a value or a root that does not fit.
    """
    settings = _settings(name)
    cfg = OmegaConf.load(config_dir() / "train.yaml")
    cfg.paths = OmegaConf.load(config_dir() / "paths" / "default.yaml")
    cfg.opened = settings
    for override in overrides:
        _override(name, cfg, override)
    if root is not None:
        _put(name, cfg.opened, root)
    return _built(name, cfg)


def _settings(name: str) -> DictConfig:
    if name not in known_data_sets():
        raise ValueError(f"{name}: no such data set; known are {', '.join(known_data_sets())}")
    return OmegaConf.load(config_dir() / FOLDER / f"{name}.yaml")


def _put(name: str, settings: DictConfig, root: str) -> None:
    """Set the root, in place: the data set's own, or that of the one it takes its clips from."""
    keys = [key for key in _keys(settings) if key.rpartition(".")[-1] == "root"]
    if len(keys) != 1:
        raise ValueError(f"{name}: takes no folder, got {root}")
    OmegaConf.update(settings, keys[0], root)


def _override(name: str, cfg: DictConfig, override: str) -> None:
    """Change one value of the data set, in place, or one of SURROUNDINGS."""
    key, _, text = override.partition("=")
    path = key if key in SURROUNDINGS else f"opened.{key}"
    own = [own for own in _keys(cfg.opened) if not own.startswith("cache")]
    if key not in (*own, *SURROUNDINGS):
        raise ValueError(f"{name}: has no key {key!r} to change, only {', '.join((*own, *SURROUNDINGS))}")
    # Nothing is the empty text, as in an override of a training: to OmegaConf it is null.
    value = OmegaConf.select(OmegaConf.from_dotlist([override]), key) if text else ""
    parent, _, last = path.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    written = node._get_node(last)._value()  # an interpolation stays as it is written
    if isinstance(written, int | float) and not isinstance(value, int | float | None):
        raise ValueError(f"{name}: expected a value such as {key}={written}, got {override!r}")
    OmegaConf.update(cfg, path, value, merge=False)


def _keys(node: DictConfig, above: str = "") -> Iterator[str]:
    """The dotted names of all settings of a yaml, those of its parts included."""
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_interpolation():
            yield from _keys(child, f"{above}{key}.")
        elif not str(key).startswith("_"):
            yield f"{above}{key}"


def _built(name: str, cfg: DictConfig) -> Dataset:
    """Build it; what its constructor raises is passed on as it is."""
    try:
        return instantiate(cfg.opened)
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}: {error}") from error
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        if isinstance(error.__cause__, TypeError):  # a value of the wrong kind, such as a word for a list
            raise ValueError(f"{name}: {error.__cause__}") from error
        raise
