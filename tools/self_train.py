"""Learn from unlabelled films: pseudo-labels that are checked, then fine-tuning on them.

python tools/self_train.py control                               # how good labels are where truth is known
python tools/self_train.py label FILMS... --out LABELS           # can be stopped, and goes on
retracker data check tracks_folder LABELS/train                  # look at them
python -m retracker.train +experiment=self_training labels=LABELS
python tools/self_train.py compare LABELS --trackers tiny,runs/best.ckpt
python tools/self_train.py run FILMS... --out DIR --steps 2000   # all of it
"""

import argparse
import sys
from pathlib import Path

from retracker.commands.label_control import add_control_arguments, control
from retracker.commands.labelling import add_label_arguments, add_rule_arguments, label
from retracker.commands.self_training import add_compare_arguments, add_run_arguments, compare, run
from retracker.commands.shell import OneLineParser, exit_code

ACTIONS = ("label", "control", "compare", "run")


def main(argv: list[str] | None = None) -> int:
    """Do what the first word says; returns the exit code."""
    words = sys.argv[1:] if argv is None else argv
    parser = OneLineParser(
        prog="self_train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="self_train ACTION --help says more")
    chosen = parser.parse_args(words)
    return exit_code(f"self_train {chosen.action}", lambda: act(chosen.action, chosen.words))


def act(action: str, words: list[str]) -> None:
    parser = OneLineParser(
        prog=f"self_train {action}", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if action == "control":
        add_control_arguments(parser)
        add_rule_arguments(parser)
        control(parser.parse_args(words))
    elif action == "compare":
        add_compare_arguments(parser)
        compare(parser.parse_args(words))
    elif action == "label":
        add_label_arguments(parser)
        parser.add_argument("--out", type=Path, required=True, help="the folder of labels")
        arguments = parser.parse_args(words)
        label(arguments, arguments.out)
    else:
        add_label_arguments(parser)
        add_run_arguments(parser)
        run(*parser.parse_known_args(words))


if __name__ == "__main__":
    sys.exit(main())
