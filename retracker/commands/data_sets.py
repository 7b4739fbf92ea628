"""The known data sets: what configs/dataset says of each, and how one is opened by its name."""

from collections.abc import Sequence

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch.utils.data import Dataset

from retracker.configuration import config_dir

FOLDER = "dataset"  # of configs/


def known_data_sets() -> dict[str, str]:
    """Name and first comment of each yaml."""
    files = sorted((config_dir() / FOLDER).glob("*.yaml"))
    return {file.stem: file.read_text().partition("\n")[0].lstrip("# ") for file in files}


def open_data_set(name: str, root: str | None, overrides: Sequence[str]) -> Dataset:
    """The data set that configs/dataset/<name>.yaml describes, with ``key=value`` overrides.

    It lies at ``root``; without one, where a training would look for it.

    Raises ValueError or OSError, in one sentence, for a name, a key, a value or a root that does not fit.
    """
    settings = _settings(name)
    if root is not None and "root" not in settings:
        raise ValueError(f"{name}: takes no folder, got {root}")
    changes = dict(_change(name, override, settings) for override in overrides)
    settings = OmegaConf.merge(settings, changes, {} if root is None else {"root": root})
    surroundings = OmegaConf.load(config_dir() / "train.yaml")
    del surroundings["defaults"]
    paths = OmegaConf.load(config_dir() / "paths" / "default.yaml")
    cfg = OmegaConf.merge(surroundings, {"paths": paths, "opened": settings})
    return _built(name, cfg)


def _settings(name: str) -> DictConfig:
    if name not in known_data_sets():
        raise ValueError(f"{name}: no such data set; known are {', '.join(known_data_sets())}")
    return OmegaConf.load(config_dir() / FOLDER / f"{name}.yaml")


def _change(name: str, override: str, settings: DictConfig) -> tuple[str, object]:
    key, sign, _ = override.partition("=")
    keys = [str(key) for key in settings if not str(key).startswith("_")]
    if not sign or key not in keys:
        raise ValueError(f"{name}: has no key {key!r} to change, only {', '.join(keys)}")
    value = OmegaConf.from_dotlist([override])[key]
    written = settings._get_node(key)._value()  # an interpolation stays as it is written
    if isinstance(written, int | float) and not isinstance(value, int | float):
        raise ValueError(f"{name}: expected a value such as {key}={written}, got {override!r}")
    return key, value


def _built(name: str, cfg: DictConfig) -> Dataset:
    """Build it; what its constructor raises is passed on as it is."""
    try:
        return instantiate(cfg.opened)
    except OmegaConfBaseException as error:
        raise ValueError(f"{name}: {error}") from error
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | OSError):
            raise error.__cause__ from None
        raise ValueError(f"{name}: {error.__cause__ or error}") from error
