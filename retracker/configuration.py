"""Where the configuration lies, how a command composes it, and what a user's mistake looks like."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from retracker.host import FAILURE, MISTAKE

MISTAKES = (ValueError, OSError, HydraException, OmegaConfBaseException)
FULL_KEY = "full_key: "  # what Hydra's errors name a part of the configuration after
# Groups that do not stand in a command's own defaults list: those within another group, and with a plus those
# that stand in none.
FURTHER = MappingProxyType(
    {
        "train": (
            "backbone@model.backbone",
            "descriptor@model.descriptor",
            "schedule@module.optimisation.schedule",
            "transform@data.transform",
            "dataset@data.val",
            "+dataset@data.train.NAME",
            "extractor@data.extractor",  # this and the next: with +experiment=booster
            "views@data.val",
            "+experiment",
            "+debug",
        ),
        "eval": ("backbone@model.backbone", "descriptor@model.descriptor"),
    }
)


class HelpAsked(Exception):
    """Somebody asked for help, which is the message, instead of a run."""


class RunFailed(Exception):
    """A run ended through no mistake of the user's, and started again it may well go on."""


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

    Raises Hydra's and OmegaConf's errors for an unknown group, a misspelt key or a malformed override, and
    HelpAsked for -h and --help.
    """
    if not {"-h", "--help"}.isdisjoint(overrides):
        raise HelpAsked(help_text(name))
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose(name, list(overrides))
    OmegaConf.resolve(cfg)
    missing = OmegaConf.missing_keys(cfg)
    if missing:
        raise ValueError(f"{name}: give a value for each of {', '.join(sorted(missing))}")
    return cfg


def help_text(name: str) -> str:
    """How ``<name>.yaml`` is overridden: its groups with their choices, and its own keys."""
    path = config_dir() / f"{name}.yaml"
    defaults = [next(iter(entry)) for entry in OmegaConf.load(path).defaults if entry != "_self_"]
    groups = [*defaults, *FURTHER[name]]
    lines = path.read_text().splitlines()
    return "\n".join(
        [f"usage: retracker {name} [group=choice] [key=value] ...", "", "groups:"]
        + [f"  {group}={'|'.join(_choices(group))}" for group in groups]
        + ["", "keys, also those of a group (data.batch_size=2); +key=value adds one that is not there:"]
        + [f"  {line}" for line in lines[lines.index("") + 1 :]]
    )


def run_command(main: Callable[[Sequence[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run a command; a user's mistake ends in one line on stderr and exit code 2.

    A failure that is known ends in one line and exit code 1, all else in a traceback.
    """
    try:
        main(sys.argv[1:] if arguments is None else arguments)
    except HelpAsked as asked:
        sys.stdout.write(f"{asked}\n")
    except MISTAKES as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return MISTAKE
    except RunFailed as error:
        sys.stderr.write(f"error: {one_line(error)}\n")
        return FAILURE
    return 0


def one_line(error: BaseException) -> str:
    """An error's message without line breaks; for one raised while building a part, its cause as well."""
    own, cause = (" ".join(str(part or "").split()) for part in (error, error.__cause__))
    _, found, part = own.partition(FULL_KEY)
    if cause and found:  # Hydra repeats the cause: of its words only the part's name says more
        return f"{part}: {cause}"
    return " | ".join(words for words in (cause, own) if words)


def _choices(group: str) -> list[str]:
    folder = config_dir() / group.removeprefix("+").partition("@")[0]
    return sorted(path.stem for path in folder.glob("*.yaml"))
