"""python tools/run_summary.py RUN_DIR: write summary.html and summary.md of a run anew.

RUN_DIR is the output directory of a training (it holds run.json), which may still go on, or have been killed.
"""

import argparse
import sys
from pathlib import Path

from retracker.commands.shell import OneLineParser, exit_code, say
from retracker.training.summary_page import write_summary


def main(argv: list[str] | None = None) -> int:
    """Write both files; returns the exit code."""
    parser = OneLineParser(
        prog="run_summary", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path, metavar="RUN_DIR")
    arguments = parser.parse_args(argv)
    return exit_code("run_summary", lambda: run(arguments.directory))


def run(directory: Path) -> int:
    say(str(write_summary(directory)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
