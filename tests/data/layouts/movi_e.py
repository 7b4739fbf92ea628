"""MOVi as our tool leaves it: written by the tool itself."""

import runpy
from functools import partial
from pathlib import Path

from layouts import Layout
from layouts.truth import Truth
from retracker.data.datasets.movi import Movi

TOOL = Path(__file__).parents[3] / "tools" / "convert_movi.py"


def movi(name: str) -> Layout:
    return Layout(
        config=name,
        write=write,
        open=partial(open_movi, name=name),
        tolerance=0.0,
        a_file=lambda root: root / "train" / "00000.npz",
    )


def write(root: Path, truths: list[Truth]) -> None:
    tool = runpy.run_path(str(TOOL))
    for index, truth in enumerate(truths):
        video = truth.video.permute(0, 2, 3, 1).numpy()
        path = root / "train" / tool["clip_name"](index)
        tool["write_clip"](path, video, truth.tracks.numpy(), truth.visible.numpy())


def open_movi(root: Path, name: str) -> Movi:
    return Movi(str(root), name=name, split="train")


LAYOUT = movi("movi_e")
