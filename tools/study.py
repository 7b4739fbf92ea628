"""python tools/study.py [--steps 300] [--only NAME ...] [--opencv-doc FOLDER]: what does each part do?

Trains the tiny net from XFeat's weights alone, once as it is and once for each change, all for as many
steps on the same stream of rendered clips. Measures what each net finds, not sharpened, on synthetic_val and
on pairs of photographs with known truth. What is there already is not made again, so that it can be stopped
and go on.
Prints a Markdown table: the numbers of "as it is", and how far those of the others lie from them.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from retracker.configuration import run_command

ROOT = Path(__file__).parents[1]
BASE = "as it is"
CLIPS = "data.train.synthetic"
# Each change, in words of its own and in Hydra's.
VARIANTS: dict[str, tuple[str, ...]] = {
    BASE: (),
    "as it is, another seed": ("seed=1",),
    "1 iteration a level, not 2": ("model.refiner.iterations=[1,1,1]",),
    "3 iterations a level": ("model.refiner.iterations=[3,3,3]",),
    "1 memory patch, not 3": ("model.memory.size=1",),
    "no memory patches": ("model.memory.size=0",),
    "attention to 1 past frame, not 12": ("model.memory.context=1",),
    "never start at the coarse match": ("model.choice.sure=1.0", "model.choice.random_share=0.0"),
    "clips of 5 frames, 4 a step": (f"{CLIPS}.num_frames=5", "data.batch_size=4"),
    "clips of 20 frames, 1 a step": (f"{CLIPS}.num_frames=20", "data.batch_size=1"),
    "hidden points' places not learnt": ("module.loss.terms.position.occluded_weight=0.0",),
    "coarse loss 4 times as heavy": ("module.loss.weights.coarse=0.4",),
    "textures without photographs": (f"{CLIPS}.photo_share=0.0",),
    "photographs only": (f"{CLIPS}.photo_share=1.0",),
    "no photometric changes": (f"{CLIPS}.photometric=false", "data.transform.transforms.2.brightness=0.0"),
    "weak, shaded and grey surfaces": (f"{CLIPS}.weak=0.8", f"{CLIPS}.shaded=1.0", f"{CLIPS}.grey=0.4"),
    "everything twice as fast": (f"{CLIPS}.frame_stride=2.0",),
    "frames of 192 px, 1 clip a step": (f"{CLIPS}.size=192", "data.batch_size=1"),
}
GROUPS = ("easy", "medium", "hard")
OF_ALL = {"AJ": "average_jaccard", "delta_avg": "average_pts_within_thresh", "OA": "occlusion_accuracy"}


def main(argv: Sequence[str] | None = None) -> int:
    """Train, measure, print; returns the exit code."""
    return run_command(run, argv)


def run(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument(
        "--only", nargs="+", default=list(VARIANTS), metavar="NAME", help="some of the changes"
    )
    parser.add_argument("--opencv-doc", type=Path, help="examples/data of OpenCV's documentation: graf, aloe")
    parser.add_argument("--out", type=Path, default=Path("outputs/study"))
    parser.add_argument("--also", nargs="+", default=[], metavar="OVERRIDE", help="of each, as compile=true")
    parser.add_argument("--table", action="store_true", help="only print what there is")
    arguments = parser.parse_args(words)
    for name in arguments.only:
        if name not in VARIANTS:
            raise ValueError(f"--only: {name!r} is unknown; there are {', '.join(VARIANTS)}")
        if not arguments.table:
            study(name, arguments)
    rows = {name: read(arguments.out / folder_of(name)) for name in VARIANTS}
    sys.stdout.write(table({name: row for name, row in rows.items() if row}, arguments.steps))


def study(name: str, arguments: argparse.Namespace) -> None:
    """Train and measure one variant, as far as that is not done yet."""
    folder = arguments.out / folder_of(name)
    if (folder / "scores.json").exists():
        return
    sys.stderr.write(f"study: {name}\n")
    out = f"paths.output_dir={folder}/train"
    fixed = ("+experiment=tracking", f"{CLIPS}.spare_held_out=true", "seed=0", "trainer.limit_val_batches=0")
    fixed += (f"total_steps={arguments.steps}", "module.ema_decay=0.98", "resume=auto", out, *arguments.also)
    call("-m", "retracker.train", *fixed, *VARIANTS[name])
    weights = folder / "train" / "checkpoints" / "last.ckpt"
    call("-m", "retracker.eval", "benchmark=synthetic_val", f"ckpt={weights}", "baselines=[]", "worst=0",
         "tracker.method.subpixel=false", f"paths.output_dir={folder}/eval")  # fmt: skip
    doc = [] if arguments.opencv_doc is None else ["--opencv-doc", str(arguments.opencv_doc)]
    call(str(ROOT / "tools" / "transfer.py"), "--ckpt", str(weights), "--out", f"{folder}/transfer",
         "--no-subpixel", *doc)  # fmt: skip
    write_scores(folder)


def call(*words: str) -> None:
    """Run Python in a process of its own; raises ValueError if that fails."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run([sys.executable, *words], check=False, env=os.environ | {"PYTHONPATH": path})
    if done.returncode:
        raise ValueError(f"{' '.join(words[:2])} failed with exit code {done.returncode}")


def write_scores(folder: Path) -> None:
    """What the table shows of a variant, in percent: scores.json, complete or not there at all."""
    means = json.loads((folder / "eval" / "results.json").read_text())["contestants"]["ReTracker"]["means"]
    scores = {f"AJ {group}": 100 * means[group]["average_jaccard"] for group in GROUPS}
    scores |= {title: 100 * means["all"][key] for title, key in OF_ALL.items()}
    pairs = json.loads((folder / "transfer" / "results.json").read_text())["pairs"]
    scores |= {name: trackers["ReTracker"]["delta_avg"] for name, trackers in pairs.items()}
    part = folder / "scores.part"
    part.write_text(json.dumps(scores, indent=2) + "\n")
    part.replace(folder / "scores.json")


def folder_of(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def read(folder: Path) -> dict[str, float]:
    path = folder / "scores.json"
    return json.loads(path.read_text()) if path.exists() else {}


def table(rows: Mapping[str, Mapping[str, float]], steps: int) -> str:
    """Markdown: the numbers of "as it is", and of every other how much it differs from that."""
    if BASE not in rows:
        return f"nothing to compare with yet: {BASE!r} is missing\n"
    columns = list(rows[BASE])
    lines = [f"| {steps} steps each | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        shown = [
            f"{row[c]:.1f}" if name == BASE else f"{row[c] - rows[BASE][c]:+.1f}" for c in columns if c in row
        ]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
