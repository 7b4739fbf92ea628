"""Small trees in the exact layout of each data set of posed pairs, from rendered scenes that stand still.

One module per layout; ``test_pairs.py`` runs every one that has a ``LAYOUT``. Scene i is truth i, of
which frames ``FRAMES`` make pair i; whatever else a layout lists must be left out by the reader.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
from layouts.truth import Truth, intrinsics, poses, rendered
from PIL import Image

from retracker.data.pairs import Pairs
from retracker.data.synthetic.raster import draw
from retracker.data.synthetic.scene import Material, depth_between, follow, front
from retracker.data.synthetic.surfaces import pose
from retracker.types import DenseFlow

FRAMES = (0, 5)


@dataclass(frozen=True, kw_only=True)
class PairLayout:
    """How one data set lies on disk, how it is opened, and how well its labels survive the format."""

    config: str  # of configs/dataset
    write: Callable[[Path, list[Truth]], None]
    open: Callable[[Path, int], Pairs]  # root and size; otherwise with its usual settings
    depth_error: float  # the most, in the truth's unit
    flow_error: float  # px, the most between warped pixels and the truth
    scenes: tuple[str, str]  # of the two truths
    a_file: Callable[[Path], Path]  # a file that pair 0 needs, for breaking it
    an_index: Callable[[Path], Path]  # of scene 0


@cache
def still(seed: int) -> Truth:
    """A rendered scene that stands still, seen by a camera that does not zoom: ScanNet's cannot."""
    truth = rendered(seed, static=True)
    motion = truth.scene.camera.motion
    steady = torch.tensor([1.0] * 6 + [0.0], dtype=motion.base.dtype)  # the last channel is the zoom
    motion = replace(
        motion,
        base=motion.base * steady,
        drift=motion.drift * steady,
        amplitude=motion.amplitude * steady[:, None],
    )
    scene = replace(truth.scene, camera=replace(truth.scene.camera, motion=motion))
    return replace(
        truth,
        video=draw(scene)[0],
        depth=depth_between(scene, 0, len(truth.video))[0],
        intrinsics=intrinsics(scene),
        poses=poses(scene),
        scene=scene,
    )


def true_flow(truth: Truth, source: int = FRAMES[0], target: int = FRAMES[1]) -> DenseFlow:
    """From every pixel centre of one frame to another, exact: displacement 1 H W 2, valid 1 H W."""
    return truth.flow(source, target)


def true_places(truth: Truth, xy: torch.Tensor, source: int = FRAMES[0], target: int = FRAMES[1]) -> tuple:
    """Where what one frame shows at any places (N 2) is in another, exact, and whether it is seen there."""
    scene = truth.scene
    x, y = xy.to(scene.time.dtype)[:, None].unbind(-1)  # N 1
    posed = pose(scene.surfaces, scene.camera, scene.time[:, source, None])
    _, surface, u, v = (value[:, 0, :, 0] for value in front(posed, scene.surfaces, x, y))
    points = Material(surface=surface, u=u, v=v)
    found, seen, _ = follow(scene, points, scene.time[:, target, None])
    return found[0, 0], seen[0, 0]


def write_jpg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=98, subsampling=0)


def write_h5(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["depth"] = depth.astype(np.float32)


def write_millimetres(path: Path, depth: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(path)


def rgb(truth: Truth, frame: int) -> np.ndarray:
    return truth.video[frame].permute(1, 2, 0).numpy()
