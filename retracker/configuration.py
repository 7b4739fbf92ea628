"""Where the configuration lies, how a command composes it, and what a user's mistake looks like."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

MISTAKES = (ValueError, FileNotFoundError, HydraException, OmegaConfBaseException)
MISTAKE_EXIT_CODE = 2


def config_dir() -> Path:
    """The folder of yaml files: inside the installed package, else at the top of the repository."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "configs", package.parent / "configs"):
        if (candidate / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(
        f"no configs: looked for train.yaml in {package / 'configs'} and {package.parent / 'configs'}"
    )


def compose_config(name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose ``<name>.yaml`` with Hydra overrides such as ``model=tiny`` or ``data.batch_size=2``.

    Raises Hydra's and OmegaConf's errors for an unknown group, a misspelt key or a malformed override.
    """
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(name, list(overrides))
    OmegaConf.resolve(cfg)
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ValueError(f"{name}: give a value for each of {', '.join(sorted(missing))}")
    return cfg


def run_command(main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one line on stderr and exit code 2, all else in a traceback."""
    try:
        main(sys.argv[1:] if arguments is None else arguments)
    except MISTAKES as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return MISTAKE_EXIT_CODE
    return 0


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; for one raised while building a part, its cause as well."""
    parts = [error] if error.__cause__ is None else [error.__cause__, error]
    return " | ".join(" ".join(str(part).split()) for part in parts)
