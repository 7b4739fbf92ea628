"""python tools/index_megadepth.py data/megadepth/train --out data/megadepth/index: which views overlap.

Makes the pair index of MegaDepth, in LoFTR's layout, from the sparse models beside the undistorted images:

    <root>/Undistorted_SfM/<scene>/{images, sparse or sparse-txt}
    <root>/phoenix/S6/zl548/MegaDepth_v1/<scene>/dense0/depths/<name>.h5
    -> <out>/scene_info_0.1_0.7/<scene>_0.1_0.3.npz ..._0.3_0.5.npz ..._0.5_0.7.npz
    -> <out>/trainvaltest_list/train_list.txt

The overlap of (i, j) is D2-Net's: of the 3-D points that view i sees, the share that view j sees, too. So
both orders of a pair are listed, each by its own overlap. The files are pickles of plain lists.
"""

import argparse
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retracker.media.colmap import ColmapView, read_colmap
from retracker.media.files import replacing

BINS = ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7))
DEPTHS = "phoenix/S6/zl548/MegaDepth_v1/{scene}/dense0/depths/{stem}.h5"
ORDINAL_BYTES = 100 * 1024  # MegaDepth's depth files below this are masks that order regions (D2-Net)


def main(argv: list[str] | None = None) -> int:
    """Index every scene; returns the exit code."""
    arguments = parse(argv)
    folder = arguments.out / "scene_info_0.1_0.7"
    try:
        for scene in arguments.scenes or scenes_of(arguments.root):
            found = index_scene(arguments.root, scene, arguments.smallest_depth)
            for stem, info in found.items():
                with replacing(folder / f"{stem}.npz") as partial:
                    partial.write_bytes(pickle.dumps(info, protocol=4))
            counts = ", ".join(f"{stem} {len(info['pair_infos'])}" for stem, info in found.items())
            sys.stdout.write(f"{scene}: {counts or 'no pairs'}\n")
        stems = sorted(path.stem for path in folder.glob("[!.]*.npz"))  # those of earlier runs, too
        with replacing(arguments.out / "trainvaltest_list" / "train_list.txt") as partial:
            partial.write_text("".join(f"{stem}\n" for stem in stems))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"index_megadepth: {error}\n")
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path, help="the folder that holds Undistorted_SfM and phoenix")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the index")
    parser.add_argument("--scenes", nargs="+", help="such as 0001 0002; without: all")
    parser.add_argument(
        "--smallest-depth", type=int, default=ORDINAL_BYTES, help="bytes; smaller depth files hold no depth"
    )
    return parser.parse_args(argv)


def scenes_of(root: Path) -> list[str]:
    """The scenes that have a model. Raises FileNotFoundError if none has."""
    scenes = [path.name for path in sorted((root / "Undistorted_SfM").glob("*")) if model_of(root, path.name)]
    if not scenes:
        raise FileNotFoundError(f"{root}: has no Undistorted_SfM/<scene>/sparse")
    return scenes


def model_of(root: Path, scene: str) -> Path | None:
    folders = [root / "Undistorted_SfM" / scene / name for name in ("sparse", "sparse-txt")]
    there = [folder for folder in folders if list(folder.glob("images.*"))]
    return there[0] if there else None


def index_scene(root: Path, scene: str, smallest_depth: int) -> dict[str, dict]:
    """The index files of a scene by name, one for each bin of overlap that holds a pair."""
    model = model_of(root, scene)
    if model is None:
        raise FileNotFoundError(f"{root / 'Undistorted_SfM' / scene}: has no model in sparse or sparse-txt")
    views = read_colmap(model)
    depths = [depth_of(root, scene, view.name, smallest_depth) for view in views]
    usable = np.array([depth is not None for depth in depths])
    common = common_points(views)
    overlap = common.count / np.maximum(1, np.diagonal(common.count))[:, None]
    overlap *= usable & usable[:, None]
    np.fill_diagonal(overlap, 0)
    shared = {
        "image_paths": [
            f"Undistorted_SfM/{scene}/images/{view.name}" if depth else None
            for view, depth in zip(views, depths, strict=True)
        ],
        "depth_paths": depths,
        "intrinsics": [view.intrinsics.tolist() for view in views],
        "poses": [view.pose.tolist() for view in views],
    }
    infos = {f"{scene}_{low}_{high}": pair_infos(views, common, overlap, low, high) for low, high in BINS}
    return {stem: shared | {"pair_infos": infos} for stem, infos in infos.items() if infos}


def depth_of(root: Path, scene: str, name: str, smallest: int) -> str | None:
    path = DEPTHS.format(scene=scene, stem=Path(name).stem)
    return path if (root / path).exists() and (root / path).stat().st_size >= smallest else None


@dataclass(frozen=True)
class Common:
    """What n views have in common."""

    count: np.ndarray  # n n: points that both see
    example: (
        np.ndarray
    )  # n n: one of them, as the observation of it in view i; any number where there is none


def common_points(views: list[ColmapView]) -> Common:
    """Count the points that each two views share: walk over the points of a view to all who see them."""
    firsts = [np.unique(view.points, return_index=True) for view in views]
    ids = np.concatenate([points for points, _ in firsts] or [np.zeros(0, np.int64)])
    owner = np.repeat(np.arange(len(views)), [len(points) for points, _ in firsts])
    order = np.argsort(ids, kind="stable")
    _, start, inverse, length = np.unique(
        ids[order], return_index=True, return_inverse=True, return_counts=True
    )
    group = np.empty_like(inverse)
    group[order] = inverse  # of each observation: which point it is, counted from 0
    count = np.zeros((len(views), len(views)), np.int64)
    example = np.zeros_like(count)
    for i, (_, first) in enumerate(firsts):
        mine = group[owner == i]
        lengths = length[mine]
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        others = owner[order[np.repeat(start[mine], lengths) + within]]
        count[i] = np.bincount(others, minlength=len(views))
        example[i, others] = np.repeat(first, lengths)
    return Common(count, example)


def pair_infos(
    views: list[ColmapView], common: Common, overlap: np.ndarray, low: float, high: float
) -> list[tuple]:
    """((i, j), overlap, [y, x of a common point in i, and in j]) of pairs with an overlap in [low, high)."""
    found = []
    for i, j in np.argwhere((overlap >= low) & (overlap < high)).tolist():
        here = common.example[i, j]
        there = np.argmax(views[j].points == views[i].points[here])
        (x0, y0), (x1, y1) = views[i].xy[here].tolist(), views[j].xy[there].tolist()
        found.append(((i, j), float(overlap[i, j]), [y0, x0, y1, x1]))
    return found


if __name__ == "__main__":
    sys.exit(main())
