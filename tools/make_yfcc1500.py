"""python tools/make_yfcc1500.py yfcc_test_pairs_with_gt.txt --out data/yfcc1500: 375 pairs of each scene.

There is no public list of this name. Ours is the first 375 pairs of each of the four scenes of SuperGlue's
list of 4,000 (which is OANet's), in its order; so its numbers are no substitute for those of all 4,000.

    -> <out>/<scene>.npz, a pickled dict of plain lists, in spite of the suffix (so are LoFTR's):
       dataset_name  "yfcc"
       image_paths   [2 * 375]  as in the list: <scene>/test/images/<name>.jpg
       intrinsics    [2 * 375]  3 x 3, of the stored image, by pixel indices
       poses         [2 * 375]  4 x 4; view 2 p is the world of pair p, view 2 p + 1 has the motion from it
       pair_infos    [375]      ((2 p, 2 p + 1), -1.0): how much the views overlap is unknown
       exif_rot      [2 * 375]  how often numpy.rot90 is to turn the stored image, 0 to 3
"""

import argparse
import pickle
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from retracker.data.pair_lists import ListedPair, read_pairs
from retracker.media.files import replacing

SCENES = ("buckingham_palace", "notre_dame_front_facade", "reichstag", "sacre_coeur")
PAIRS = 375  # of each: 1,500 in all


def main(argv: list[str] | None = None) -> int:
    """Write the index of every scene; returns the exit code."""
    arguments = parse(argv)
    try:
        indices = {scene: packed(pairs) for scene, pairs in chosen(arguments.pairs).items()}
        for scene, index in indices.items():
            with replacing(arguments.out / f"{scene}.npz") as partial:
                partial.write_bytes(pickle.dumps(index, protocol=4))
            sys.stdout.write(f"{arguments.out / scene}.npz: {len(index['pair_infos'])} pairs\n")
    except (ValueError, OSError) as error:
        sys.stderr.write(f"make_yfcc1500: {error}\n")
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", type=Path, help="yfcc_test_pairs_with_gt.txt of SuperGlue's assets")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the index")
    return parser.parse_args(argv)


def chosen(path: Path) -> dict[str, list[ListedPair]]:
    """The first pairs of each scene. Raises ValueError if a scene has too few, or is not one of the four."""
    of_scene: dict[str, list[ListedPair]] = defaultdict(list)
    for pair in read_pairs(path):
        of_scene[pair.scene].append(pair)
    if set(of_scene) != set(SCENES):
        raise ValueError(f"{path}: expected pairs of {', '.join(SCENES)}, got {', '.join(sorted(of_scene))}")
    for scene in SCENES:
        if len(of_scene[scene]) < PAIRS:
            raise ValueError(
                f"{path}: expected at least {PAIRS} pairs of {scene}, got {len(of_scene[scene])}"
            )
    return {scene: of_scene[scene][:PAIRS] for scene in SCENES}


def packed(pairs: Sequence[ListedPair]) -> dict[str, object]:
    """Plain lists: pickled arrays ask for the numpy that wrote them."""
    views = [view for pair in pairs for view in (pair.view0, pair.view1)]
    return {
        "dataset_name": "yfcc",
        "image_paths": [view.path for view in views],
        "intrinsics": [view.intrinsics.tolist() for view in views],
        "poses": [pose.tolist() for pair in pairs for pose in (np.eye(4), pair.pose_0to1)],
        "pair_infos": [((2 * number, 2 * number + 1), -1.0) for number in range(len(pairs))],
        "exif_rot": [view.turns for view in views],
    }


if __name__ == "__main__":
    sys.exit(main())
