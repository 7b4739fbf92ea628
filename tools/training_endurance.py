"""python tools/training_endurance.py [--steps 2000] [--every 50] [--out FOLDER] [hydra overrides]

Does memory stay flat in a long training? Runs the real one (small clips, a worker, checkpoints, validation
and its pictures now and then), which logs the resident memory of its main process and of the processes that
it has started every so many steps. Then prints both, what they gained since the first quarter as MiB and as
MiB for 1,000 steps (a line through all values from there on), and draws them. The workers of validation live
on from the first one: memory of workers rises there, once.

    python tools/training_endurance.py --read FOLDER    the same of a run that is there, or still under way
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retracker.commands.shell import OneLineParser, check_positive, say
from retracker.configuration import run_command
from retracker.train import run as train
from retracker.training.history import Curve, read_history
from retracker.visualize.curves import Measured, write_measured

SMALL = (
    *("+experiment=tracking", "pretrained=none", "data.batch_size=1", "data.num_workers=1"),
    *(
        "data.train.synthetic.size=96",
        "data.train.synthetic.num_frames=6",
        "data.train.synthetic.num_points=32",
    ),
    *("data.val.size=96", "data.val.num_frames=8", "data.val.num_points=32"),
    *("trainer.val_check_interval=250", "callbacks.checkpoints.every_n_steps=250"),
)
CURVES = {"memory/process_mb": "main process", "memory/workers_mb": "its workers"}


def main(argv: list[str] | None = None) -> int:
    """Train, print, draw; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = OneLineParser(
        prog="training_endurance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("training_endurance"))
    parser.add_argument("--read", type=Path, metavar="FOLDER")
    arguments, overrides = parser.parse_known_args(words)
    for name in ("steps", "every"):
        check_positive(f"--{name}", getattr(arguments, name))
    if arguments.read is None:
        length = (f"total_steps={arguments.steps}", f"trainer.log_every_n_steps={arguments.every}")
        train([*SMALL, *length, *overrides, f"paths.output_dir={arguments.out}"])
    report(arguments.read or arguments.out)


def report(folder: Path) -> None:
    """Print and draw what a run has logged. Raises ValueError if it has logged too little to say anything."""
    history = read_history(folder)
    found = {words: history.get(name, []) for name, words in CURVES.items()}
    if min(len(curve) for curve in found.values()) < 4:
        raise ValueError(f"{folder}: expected a run that has logged its memory at least 4 times")
    say("| step | " + " | ".join(f"{words}, MiB" for words in found) + " |")
    say("|---:|" + "---:|" * len(found))
    for points in zip(*found.values(), strict=True):
        say(f"| {points[0][0]} | " + " | ".join(f"{value:.1f}" for _, value in points) + " |")
    for words, curve in found.items():
        gained, slope = (round(value, 1) + 0.0 for value in growth(curve))  # no -0.0
        say(f"{words}: {gained:+.1f} MiB since step {settled(curve)[0][0]}, {slope:+.1f} MiB for 1,000 steps")
    picture = folder / "memory.png"
    panels = [
        Measured(title=words, label="MiB", x=[step for step, _ in curve], y=[value for _, value in curve])
        for words, curve in found.items()
    ]
    write_measured(picture, "Resident memory over a training", "step", panels)
    say(f"{picture}")


def settled(curve: Curve) -> Curve:
    """All but the first quarter, in which caches and thread pools fill."""
    return curve[len(curve) // 4 :]


def growth(curve: Curve) -> tuple[float, float]:
    """MiB from the first settled value to the last, and for 1,000 steps by a line through all of them."""
    steps, values = np.array(settled(curve), dtype=float).T
    return float(values[-1] - values[0]), float(1000 * np.polyfit(steps, values, 1)[0])


if __name__ == "__main__":
    sys.exit(main())
