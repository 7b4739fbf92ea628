"""Kubric's falling things: CoTracker's two sets, LBM's copy and AllTracker's, told apart one by one.

    <root>/<seq>/frames/000.png ...            CoTracker, LBM: <seq>.npy, a pickled dict of
    <root>/<seq>/<seq>.npy                     coords (N,T,2) and visibility (N,T); other keys are ignored
    <root>/<chunk>/<seq>/frames/...            AllTracker: annot.npy, a pickled dict of
    <root>/<chunk>/<seq>/annot.npy             point_xys (T,N,2), point_visibs and point_xys_valid (T,N)

Coordinates are raster pixels: all of these come from tapnet's script, which puts a pixel's centre at +0.5.
CoTracker's ``visibility`` is true where a point is hidden (its own loader negates it); AllTracker's
``point_visibs`` is true where it is visible.
"""

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import Clip, FrameFolders, Meaning, Stored, beside, find_clips, told
from retracker.data.mapped_pickle import load_mapped
from retracker.data.storage import Storage

COTRACKER = ("coords", "visibility")  # points first
ALLTRACKER = ("point_xys", "point_visibs", "point_xys_valid")  # frames first
ALLTRACKER_FILE = "annot.npy"
SPLITS = ("train", "valid", "validation", "val", "test")


class Kubric(FrameFolders):
    """Every recording below ``root``, or below its folder ``split`` where the recordings are divided.

    Raises ValueError if there is none, or if ``root`` is divided and ``split`` does not say which to take.
    """

    def __init__(self, root: str, split: str | None, cache: DiskCache | None = None) -> None:
        storage = Storage(root, cache)
        divided = sorted(set(storage.names()) & set(SPLITS))
        if divided and not split:
            raise ValueError(f"{root}: is divided into {', '.join(divided)}; choose one as split")
        super().__init__("kubric", storage, find_clips(storage, split or "", _as_clip, EXPECTED))

    def stored(self, path: str) -> Stored:
        """The arrays of either kind of file."""
        if PurePosixPath(path).name == ALLTRACKER_FILE:
            tracks, visible, valid = (self._array(path, name) for name in ALLTRACKER)
            return Stored(tracks=tracks, masks={"visible": visible, "valid": valid})
        tracks, hidden = (self._array(path, name) for name in COTRACKER)
        return Stored(tracks=tracks.swapaxes(0, 1), masks={"hidden": hidden.swapaxes(0, 1)})

    def meaning(self, masks: dict[str, np.ndarray]) -> Meaning:
        """Negates what is stored as "visibility" but says hidden."""
        if "hidden" in masks:
            return Meaning(visible=~told(masks["hidden"]))
        valid = told(masks["valid"])
        return Meaning(visible=told(masks["visible"]), labelled=valid, located=valid)

    def _array(self, path: str, name: str) -> np.ndarray:
        return self.storage.array(path, partial(_entry, name=name), name)


EXPECTED = "<seq>/frames beside <seq>/<seq>.npy or <seq>/annot.npy"


def _as_clip(folder: str, names: tuple[str, ...]) -> Clip | None:
    return beside("frames", f"{PurePosixPath(folder).name}.npy", ALLTRACKER_FILE)(folder, names)


def _entry(path: Path, name: str) -> np.ndarray:
    labels = load_mapped(path)
    if not isinstance(labels, dict) or not isinstance(labels.get(name), np.ndarray):
        found = ", ".join(map(str, labels)) if isinstance(labels, dict) else f"a {type(labels).__name__}"
        raise ValueError(f"{path}: expected a dict with an array {name!r}, got {found}")
    return labels[name]
