"""The tracker as one graph for other runtimes: a frame and a state go in, answers and a new state come out.

A graph is made for frames of one size and a fixed number of slots. ``exported.py`` runs what is written.
"""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from retracker.inference.checks import check_tracker
from retracker.inference.snapshot import digest
from retracker.media.files import replacing
from retracker.types import TensorStruct, TrackState

FORMAT = 1  # of the graph's inputs and outputs, and of track.json
INPUTS = ("frame", "xy", "born")  # then the state, as "state_<field>"
OUTPUTS = ("tracks", "visible", "confidence")  # then the next state, as "next_<field>"
MOST_INSIDE = 2**30  # bytes of weights that are kept in the .onnx file itself, which may not exceed 2 GiB


class FrameStep(nn.Module):
    """One frame for a fixed number of slots, as a function of plain tensors without a batch axis.

    Who is ``born`` starts at ``xy`` and forgets what was in its slot before. All zeros are a state in which
    nobody is alive.
    """

    def __init__(self, net: nn.Module, height: int, width: int, points: int) -> None:
        super().__init__()
        self.net, self.height, self.width, self.points = net, height, width, points
        with torch.no_grad():
            features = net.encode(self.example()[0][None])
            self._shape = net.empty_state(features, torch.zeros(1, points, 2)).map(torch.zeros_like)

    def forward(
        self,
        frame: UInt8[Tensor, "3 H W"],
        xy: Float[Tensor, "N 2"],
        born: Bool[Tensor, " N"],
        *state: Tensor,
    ) -> tuple[Tensor, ...]:
        """Positions (px), visible and confidence of all slots, then the state that the next frame is given.

        What is answered for a slot that nobody was born into means nothing.
        """
        features = self.net.encode(frame[None])
        xy, born = xy[None], born[None]
        before = _filled(self._shape, iter(state))
        fresh = self.net.empty_state(features, xy)
        admitted = _choose(born, replace(fresh, alive=torch.ones_like(born)), before)
        found, after = self.net.follow(features, admitted, xy, born, None, None)
        answers = (found.xy, found.visible, found.confidence)
        return tuple(x[0] for x in (*answers, *named(after).values()))

    def example(self) -> tuple[Tensor, ...]:
        """A frame and births to trace with."""
        generator = torch.Generator().manual_seed(0)
        frame = torch.randint(0, 256, (3, self.height, self.width), dtype=torch.uint8, generator=generator)
        xy = torch.rand(self.points, 2, generator=generator) * torch.tensor([self.width, self.height])
        return frame, xy, torch.ones(self.points, dtype=torch.bool)

    def start(self) -> dict[str, Tensor]:
        """The state before the first frame, by name."""
        return {name: x[0].clone() for name, x in named(self._shape).items()}


def named(state: TrackState) -> dict[str, Tensor]:
    """The tensors of a state, by the path to each: ``memory_keys``, ``templates_0``."""
    return dict(_walk(state, ""))


def export(net: nn.Module, folder: str | Path, height: int, width: int, points: int) -> dict[str, Any]:
    """Write ``track.onnx``, ``track.pt2`` (``torch.export.load``) and ``track.json``, which is returned.

    ``net`` is on the CPU and in eval mode. Needs the packages onnx and onnxscript. Raises ValueError for a
    net that follows no points, and for a size that cannot be tracked in.
    """
    check_tracker(net)
    check(height, width, points)
    step = FrameStep(net, height, width, points).eval()
    start = step.start()
    with torch.no_grad():
        program = torch.export.export(step, (*step.example(), *start.values()), strict=False)
        names = {
            "input_names": [*INPUTS, *(f"state_{name}" for name in start)],
            "output_names": [*OUTPUTS, *(f"next_{name}" for name in start)],
        }
        graph = torch.onnx.export(program, dynamo=True, verbose=False, **names)
    about = _about(step, names)
    folder = Path(folder)
    weights = sum(x.nbytes for x in net.state_dict().values())
    with replacing(folder / "track.pt2") as path:
        torch.export.save(program, path)
    if weights < MOST_INSIDE:
        with replacing(folder / "track.onnx") as path:
            graph.save(path)
    else:
        graph.save(folder / "track.onnx", external_data=True)  # whose name the graph holds
    with replacing(folder / "track.json") as path:
        path.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return about


def check(height: int, width: int, points: int) -> None:
    """Raise ValueError unless frames of this size and so many points can be tracked."""
    for name, value, least in (("height", height, 32), ("width", width, 32), ("points", points, 1)):
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")


def _about(step: FrameStep, names: dict[str, list[str]]) -> dict[str, Any]:
    net = step.net
    example = [*step.example(), *step.start().values()]
    return {
        "format": FORMAT,
        "height": step.height,
        "width": step.width,
        "points": step.points,
        "inputs": [
            {"name": name, "dtype": str(x.dtype).removeprefix("torch."), "shape": list(x.shape)}
            for name, x in zip(names["input_names"], example, strict=True)
        ],
        "outputs": names["output_names"],
        "state": "all zeros before the first frame; next_<name> becomes state_<name> of the next frame",
        "coordinates": "(x, y) px of the frame; (0, 0) is the upper-left corner of the upper-left pixel",
        "visible_threshold": net.visible_threshold,
        "confidence_scale": net.confidence_scale,
        "confidence_shift": net.confidence_shift,
        "image_size": net.image_size,
        "weights": digest(net),
        "versions": {name: _version(name) for name in ("retracker", "torch", "onnx", "onnxscript")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _choose(mask: Bool[Tensor, "B N"], yes: TrackState, no: TrackState) -> TrackState:
    """``types.where``, but onnxruntime cannot choose between truth values."""

    def pick(a: Tensor, b: Tensor) -> Tensor:
        which = mask.reshape(*mask.shape, *[1] * (a.ndim - mask.ndim))
        return (which & a) | (~which & b) if a.dtype == torch.bool else torch.where(which, a, b)

    return yes.map(pick, no)


def _walk(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
        return
    struct = isinstance(value, TensorStruct)
    parts = ((f.name, getattr(value, f.name)) for f in fields(value)) if struct else enumerate(value)
    for name, part in parts:
        yield from _walk(part, f"{path}_{name}" if path else name)


def _filled(shape: TrackState, values: Iterator[Tensor]) -> TrackState:
    """The state of the given shapes with the values in it, in the order of ``named``."""
    return shape.map(lambda _: next(values)[None])
