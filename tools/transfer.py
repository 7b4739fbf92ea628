"""python tools/transfer.py [CLIP[@FIRST_FRAME] ...] [--opencv-doc FOLDER]: does it hold off our renderer?

Of each clip so many frames are tracked forth, and the points found in the last one back to the first, by a
fresh run that knows nothing of the way there. A point survives if it is called visible at both ends and comes
back to within 8 px of its start. "cycle error" is the median of the points that a tracker keeps, each its
own; "half within" the median of all points asked for, lost ones being infinitely far; "of all" their mean,
lost or not. Where nothing can be seen to move, a tracker comes back from wherever it went: "of textured"
counts only points that cv2.goodFeaturesToTrack might take (the smaller eigenvalue of their structure tensor
is above 1 % of the frame's largest). A tracker that never moves is perfect by these measures: look at the
pictures. And one that slides off and retraces its way back is as good as one that was right: where a part of
the film is known to stand still (--still), "still" says how far off its points are after the way forth.

Of pairs with known truth (scikit-image's motorcycle; graf and aloe of OpenCV's examples, if their folder is
given) a grid of points is tracked from one image to the other as a clip of two frames; distances are
TAP-Vid's, in px of a 256 x 256 raster. Lucas-Kanade and "stay where you are" answer the same questions.
"""

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import skimage
import torch
from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from retracker.benchmarks.baselines import LucasKanadeSettings, lucas_kanade, stay
from retracker.benchmarks.cycle import Cycle, cycle
from retracker.benchmarks.protocol import Tracked
from retracker.checkpoint import load
from retracker.configuration import config_dir, run_command
from retracker.geometry.coords import rescale
from retracker.geometry.homography import from_indices, transform
from retracker.inference.clip import track
from retracker.inference.two_views import grid_points
from retracker.media.image import read_frame, read_image, write_image
from retracker.media.video import read_frames
from retracker.visualize.canvas import beside, to_array, to_image
from retracker.visualize.tracks import draw_tracks

RASTER = (256, 256)
THRESHOLDS = (1.0, 2.0, 4.0, 8.0, 16.0)  # px of the raster
STILL = 1.0  # px of the clip
SHOWN = 4  # frames of a clip that are drawn
GAP_PX = 6
WIDTH = 160  # characters of the tables in a file or a pipe

Tracker = Callable[[Tensor, Tensor], Tracked]  # of a video and queries (N, 3) = (t, x, y)
Truth = Callable[
    [Tensor], tuple[Tensor, Tensor]
]  # of points (N, 2): where they are, and whether that is known


def main(argv: list[str] | None = None) -> int:
    """Measure, print two tables, write pictures and results.json; returns the exit code."""
    return run_command(run, argv)


def run(words: list[str]) -> None:
    arguments = parse(words)
    torch.set_num_threads(arguments.threads)
    trackers = contestants(arguments)
    for name in arguments.clips:
        _, still = asked_of(frames_of(name, 0), arguments)  # tracking takes minutes: rather now than then
        if arguments.still and not still.any():
            raise ValueError(f"{name}: --still: no point of the grid lies in these parts")
    arguments.out.mkdir(parents=True, exist_ok=True)
    cycles = {}
    for name in arguments.clips:
        video = frames_of(name, arguments.frames)
        points, still = asked_of(video, arguments)
        title = Path(name.partition("@")[0]).stem + (" from " + name.partition("@")[2] if "@" in name else "")
        found = {who: cycle(tracker, video, points) for who, tracker in trackers.items()}
        cycles[title] = {who: scores_of(one, still) for who, one in found.items()}
        write_image(arguments.out / f"{title.replace(' ', '_')}.png", picture(video, found))
    pairs = {
        name: {who: measure_pair(a, b, truth, tracker, arguments.grid) for who, tracker in trackers.items()}
        for name, (a, b, truth) in pairs_with_truth(arguments.opencv_doc).items()
    }
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for title, rows in (("clips, forth and back", cycles), ("pairs with known truth", pairs)):
        if rows:
            console.print(table_of(title, rows))
    (arguments.out / "results.json").write_text(
        json.dumps({"clips": as_json(cycles), "pairs": as_json(pairs)}, indent=2) + "\n"
    )
    console.print(f"pictures and results.json: {arguments.out}")


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", nargs="*", help="video files; clip.mp4@120 starts at frame 120")
    parser.add_argument("--ckpt", default="tiny")
    parser.add_argument("--frames", type=int, default=48, help="how far forth, in frames (default: 48)")
    parser.add_argument("--grid", type=int, default=16, help="points a side (default: 16)")
    parser.add_argument("--image-size", type=int, help="px: the net works on about the square of it")
    parser.add_argument(
        "--no-subpixel", action="store_true", help="as the net found the points, not sharpened"
    )
    parser.add_argument(
        "--still",
        action="append",
        default=[],
        type=rectangle,
        metavar="X0,Y0,X1,Y1",
        help="px: a part of all clips in which nothing moves and nothing passes; may be given several times",
    )
    parser.add_argument("--opencv-doc", type=Path, help="examples/data of OpenCV's documentation: graf, aloe")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("outputs/transfer"))
    arguments = parser.parse_args(words)
    if arguments.frames < 1 or arguments.grid < 1:
        raise ValueError("--frames and --grid must be at least 1")
    if arguments.image_size is not None and arguments.image_size < 1:
        raise ValueError(f"--image-size: expected a positive number, got {arguments.image_size}")
    if arguments.still and not arguments.clips:
        raise ValueError("--still: of clips, and none is given")
    return arguments


def rectangle(text: str) -> Tensor:
    """(left, top), (right, bottom)."""
    numbers = [float(word) for word in text.split(",")]
    if len(numbers) != 4 or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise argparse.ArgumentTypeError(f"expected left,top,right,bottom in px, got {text!r}")
    return torch.tensor(numbers).reshape(2, 2)


def contestants(arguments: argparse.Namespace) -> dict[str, Tracker]:
    """All that answer, by name; ours last."""
    net = load(arguments.ckpt)
    how = {"image_size": arguments.image_size, "subpixel": not arguments.no_subpixel}

    def ours(video: Tensor, queries: Tensor) -> Tracked:
        found = track(net, video, queries, **how)
        return Tracked(tracks=found.tracks, visible=found.visible, confidence=found.confidence)

    chosen = OmegaConf.load(config_dir() / "tracker" / "lucas_kanade.yaml").method.settings
    settings = {key: value for key, value in chosen.items() if key != "_target_"}
    theirs = partial(lucas_kanade, settings=LucasKanadeSettings(**settings))
    return {"stay": stay, "lucas_kanade": theirs, "ReTracker": ours}


def frames_of(name: str, steps: int) -> Tensor:
    """The frames ``first`` to ``first + steps`` of a video given as path@first, T 3 H W uint8."""
    path, at, start = name.partition("@")
    start = start if at else "0"
    if not start.isdecimal():
        raise ValueError(f"{name}: expected a frame number after @, got {start!r}")
    return read_frames(path, range(int(start), int(start) + steps + 1))


def asked_of(video: Tensor, arguments: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """The points (N, 2) that are tracked through a clip, and which of them stand still."""
    points = grid_points(video.shape[-2], video.shape[-1], arguments.grid)
    return points, in_parts(points, arguments.still)


def in_parts(points: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Which points (N, 2) lie in one of the rectangles."""
    inside = torch.zeros(len(points), dtype=torch.bool)
    for low, high in parts:
        inside |= ((points >= low) & (points < high)).all(-1)
    return inside


def scores_of(found: Cycle, still: Tensor) -> dict[str, float]:
    """Of all points; and, of those that began where nothing moves, how far off the way forth ends."""
    scores = found.scores()
    if not still.any():
        return scores
    off = (found.there.tracks[-1] - found.there.tracks[0])[still].norm(dim=-1)
    near = 100 * (off < STILL).float().mean().item()
    parts = {"still points": int(still.sum()), "still off px": off.median().item(), "still <1 px %": near}
    return scores | parts


def as_json(scores: object) -> object:
    """Nested mappings with null for what is infinite or not measured: JSON has no words for them."""
    if isinstance(scores, Mapping):
        return {key: as_json(value) for key, value in scores.items()}
    return scores if math.isfinite(scores) else None


def measure_pair(
    image_a: Tensor, image_b: Tensor, truth: Truth, tracker: Tracker, grid: int
) -> dict[str, float]:
    """Shares of points found closer than each threshold, and their mean, in percent."""
    points = grid_points(image_a.shape[-2], image_a.shape[-1], grid)
    where, known = truth(points)
    size = torch.tensor([image_b.shape[-1], image_b.shape[-2]])
    known = known & ((where >= 0) & (where < size)).all(-1)
    video = torch.stack([image_a, image_b])
    found = tracker(video, torch.cat([torch.zeros(len(points), 1), points], dim=1)).tracks[-1]
    a, b = (rescale(x[known].float(), tuple(image_b.shape[-2:]), RASTER) for x in (found, where))
    shares = {f"<{t:g} px %": 100 * ((a - b).norm(dim=-1) < t).float().mean().item() for t in THRESHOLDS}
    return {"points": int(known.sum()), "delta_avg": sum(shares.values()) / len(shares)} | shares


def pairs_with_truth(folder: Path | None) -> dict[str, tuple[Tensor, Tensor, Truth]]:
    """Images of one size each, and where the points of the first are in the second."""
    data = Path(skimage.__file__).parent / "data"
    disparity = np.load(data / "motorcycle_disp.npz")["arr_0"]
    names = (data / "motorcycle_left.png", data / "motorcycle_right.png")
    pairs = {"motorcycle": (*map(read_image, names), partial(by_disparity, disparity=disparity))}
    if folder is not None:
        aloe = read_frame(folder / "aloeGT.png")[..., 0].astype(float)
        images = [read_image(folder / f"aloe{side}.jpg") for side in "LR"]
        pairs["aloe"] = (*images, partial(by_disparity, disparity=aloe))
        images = [read_image(folder / f"graf{number}.png") for number in (1, 3)]
        pairs["graf"] = (*images, partial(by_homography, matrix=opencv_matrix(folder / "H1to3p.xml")))
    return pairs


def by_disparity(points: Tensor, disparity: np.ndarray) -> tuple[Tensor, Tensor]:
    """A rectified stereo pair: px to the left in the second image; unknown where 0 or not finite."""
    column, row = points.long().unbind(-1)
    shift = torch.from_numpy(disparity[row.numpy(), column.numpy()].astype(np.float32))
    known = shift.isfinite() & (shift > 0)
    return points - torch.stack([torch.where(known, shift, 0.0), torch.zeros_like(shift)], dim=-1), known


def by_homography(points: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """A plane; the matrix counts pixels as OpenCV does, from the centre of the upper-left one."""
    moved, known = transform(from_indices(matrix), points.double())
    return moved.float(), known


def opencv_matrix(path: Path) -> Tensor:
    """The first 3 x 3 matrix of an OpenCV storage file."""
    found = re.search(r"<data>(.*?)</data>", path.read_text(), re.DOTALL)
    numbers = [float(word) for word in found[1].split()] if found else []
    if len(numbers) != 9:
        raise ValueError(f"{path}: expected a 3 x 3 matrix in <data>, got {len(numbers)} numbers")
    return torch.tensor(numbers, dtype=torch.float64).reshape(3, 3)


def picture(video: Tensor, found: Mapping[str, Cycle]) -> Tensor:
    """Frames from first to last with what each tracker but "stay" says, a row each."""
    times = torch.linspace(0, len(video) - 1, SHOWN).round().long()
    rows = []
    for who, result in found.items():
        if who != "stay":
            drawn = draw_tracks(video, result.there.tracks, result.there.visible)[times]
            rows.append(beside([to_array(frame) for frame in drawn], GAP_PX))
    return to_image(np.concatenate(rows))


def table_of(title: str, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Table:
    columns = list(next(iter(next(iter(rows.values())).values())))
    table = Table("", "tracker", *columns, title=title)
    for name, answers in rows.items():
        for who, scores in answers.items():
            table.add_row(name, who, *[shown(column, scores[column]) for column in columns])
        table.add_section()
    return table


def shown(column: str, value: float) -> str:
    """Counts, shares and distances with the digits that they deserve."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.2f}" if column.endswith(" px") else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
