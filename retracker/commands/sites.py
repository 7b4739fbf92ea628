"""Which site this machine belongs to: ``python -m retracker.commands.sites`` prints its name and data root.

A site is a file of configs/paths. RETRACKER_SITE names it; else it is recognised by a pattern of host names,
else by a folder that is there, else it is the default.
"""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from retracker.configuration import config_dir, run_command

DEFAULT = "default"
NAMED = "RETRACKER_SITE"


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was found; returns the exit code."""
    return run_command(run, argv)


def run(_: Sequence[str]) -> None:
    found = sites()
    name = choose(found, os.environ, socket.gethostname())
    sys.stdout.write(f"{name}\n{found[name].paths.data_root}\n")


def sites() -> dict[str, DictConfig]:
    """Each site's ``paths``, as they would be composed."""
    folder = config_dir() / "paths"
    common = OmegaConf.load(folder / f"{DEFAULT}.yaml")
    return {
        path.stem: OmegaConf.create({"paths": OmegaConf.merge(common, OmegaConf.load(path))})
        for path in sorted(folder.glob("*.yaml"))
    }


def choose(found: Mapping[str, DictConfig], environ: Mapping[str, str], host: str) -> str:
    """The name of this machine's site; raises ValueError for an unknown one, and where several fit."""
    if environ.get(NAMED):
        if environ[NAMED] not in found:
            raise ValueError(
                f"{NAMED}: there is no site {environ[NAMED]!r}; configs/paths has {', '.join(found)}"
            )
        return environ[NAMED]
    by_host = [name for name, cfg in found.items() if any(fnmatch(host, p) for p in cfg.paths.hosts)]
    by_folder = [name for name, cfg in found.items() if cfg.paths.folder and Path(cfg.paths.folder).is_dir()]
    fitting = by_host or by_folder or [DEFAULT]
    if len(fitting) > 1:
        raise ValueError(f"this machine fits the sites {' and '.join(fitting)}: say {NAMED}=<one of them>")
    return fitting[0]


if __name__ == "__main__":
    sys.exit(main())
