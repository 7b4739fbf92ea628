"""The entry point ``retracker COMMAND ...``, the same as ``python -m retracker COMMAND ...``."""

import importlib
import sys
from types import MappingProxyType

from retracker.host import MISTAKE

# Each command's module, which has main(argv) -> exit code and is imported only when it is asked for.
COMMANDS = MappingProxyType(
    {
        "train": ("retracker.train", "train a network, e.g. train +experiment=tracking"),
        "eval": ("retracker.eval", "measure a checkpoint, e.g. eval benchmark=synthetic_val ckpt=tiny"),
        "track": ("retracker.commands.track", "follow points through a video"),
        "visualize": (
            "retracker.commands.visualize",
            "draw tracks onto their video, one or several beside each other",
        ),
        "match": ("retracker.commands.match", "find the points of one image in another"),
        "boost": ("retracker.commands.boost", "strengthen the descriptors of images"),
        "demo": ("retracker.commands.demo", "a local page: click points in a video, watch them tracked"),
        "data": ("retracker.commands.data", "check a data set, or look at one clip of it"),
    }
)


def main(argv: list[str] | None = None) -> int:
    """Hand over to the command that the first argument names; returns the exit code."""
    command, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0
    if command not in COMMANDS:
        known = ", ".join(COMMANDS)
        sys.stderr.write(f"retracker: expected one of the commands {known}, got {command!r}\n")
        return MISTAKE
    return importlib.import_module(COMMANDS[command][0]).main(rest)


def _help() -> str:
    lines = [f"  {name:<10}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        ["usage: retracker COMMAND ...", "", *lines, "", "retracker COMMAND --help says more.", ""]
    )


if __name__ == "__main__":
    sys.exit(main())
