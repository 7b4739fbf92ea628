"""ReTracker as a contestant: the net that a checkpoint names, as a plain tracker or matcher."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retracker import checkpoint
from retracker.benchmarks.devices import device_of
from retracker.benchmarks.protocol import Matched, Tracked
from retracker.commands.provenance import file_digest
from retracker.inference.checks import check_tracker
from retracker.inference.clip import track
from retracker.inference.pair import match, places_of

UNTRAINED = "untrained"
PRECISIONS = MappingProxyType({"fp32": False, "bf16": True})  # whether autocast is on


@dataclass(frozen=True, kw_only=True)
class NetMethod:
    """Which net it is and how it runs: the keys of eval.yaml of the same names.

    Making one loads the net, or takes the one loaded last if it is the same. Raises ValueError or OSError,
    in one sentence, for a checkpoint, precision or device that there is not.
    """

    ckpt: str
    model: Mapping[str, Any]  # what is built for ckpt=untrained, and read for nothing else
    pretrained: str
    cache_dir: str
    seed: int
    device: str
    precision: str
    image_size: int | None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected {' or '.join(PRECISIONS)}, got {self.precision!r}")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"image_size: expected a positive number of px or null, got {self.image_size}")
        self.net()

    def net(self) -> nn.Module:
        """The net in eval mode, on its device, in float32."""
        place = str(device_of(self.device))
        if self.ckpt == UNTRAINED:
            parts = (self.model, self.pretrained, self.cache_dir, self.seed)
            net = _untrained(json.dumps(parts, sort_keys=True), place)
        else:
            path = checkpoint.resolve(self.ckpt).resolve()
            net = _trained(path, path.stat().st_mtime_ns, place)
        check_tracker(net, self.ckpt)
        return net

    def computing(self) -> AbstractContextManager:
        """While the net runs: what is safe in bfloat16 is computed in it, if the precision says so."""
        kind = device_of(self.device).type
        return torch.autocast(kind, dtype=torch.bfloat16, enabled=PRECISIONS[self.precision])


@dataclass(frozen=True, kw_only=True)
class RetrackerTracker(NetMethod):
    """ReTracker as a tracker."""

    points_at_once: int | None  # more are tracked one batch after the other: the same answer in less memory
    subpixel: bool  # positions moved to where grey values fit best
    visible_threshold: float | int | None  # null: the checkpoint's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.points_at_once is not None and self.points_at_once < 1:
            raise ValueError(f"points_at_once: expected a positive number or null, got {self.points_at_once}")

    def __call__(self, video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Tracked:
        with self.computing():
            found = track(
                self.net(),
                video,
                queries,
                image_size=self.image_size,
                subpixel=self.subpixel,
                points_per_chunk=self.points_at_once,
                visible_threshold=self.visible_threshold,
            )
        return Tracked(tracks=found.tracks, visible=found.visible, confidence=found.confidence)


@dataclass(frozen=True, kw_only=True)
class RetrackerMatcher(NetMethod):
    """ReTracker as a matcher: corners or a grid of points of image 0, found in image 1, and the other way."""

    corners: int | None  # at most so many; null: a grid
    grid: int  # points a side, without corners
    round_trip: float | int | None  # px at the net's size, of the way there and back; null: not taken
    both: bool  # also points of image 1, found in image 0: twice the time
    subpixel: bool  # positions moved to where grey values fit best
    match_threshold: float | int | None  # null: the checkpoint's

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.both and self.round_trip is None:
            raise ValueError("both: points of both images are matched only there and back: give a round_trip")

    def __call__(self, image0: UInt8[Tensor, "3 H0 W0"], image1: UInt8[Tensor, "3 H1 W1"]) -> Matched:
        asked = {} if self.round_trip is None else {"mutual": True, "round_trip_px": self.round_trip}
        if self.both:
            asked |= {"corners": self.corners, "grid": self.grid}
        else:
            asked |= {"points": places_of(image0, self.grid, self.corners)}
        asked |= {"subpixel": self.subpixel, "match_threshold": self.match_threshold}
        with self.computing():
            found = match(self.net(), image0, image1, image_size=self.image_size, **asked)
        return Matched(points0=found.points_a, points1=found.points_b, confidence=found.confidence)


def checkpoint_sha256(ckpt: str) -> str:
    """What tells a net by content, not by name: the digest of its file; of an untrained one, that it is."""
    if ckpt == UNTRAINED:
        return UNTRAINED
    return file_digest(checkpoint.resolve(ckpt))


# Several benchmarks in a row ask for the same net; of each kind the last one is kept.
@lru_cache(maxsize=1)
def _trained(path: Path, written: int, place: str) -> nn.Module:
    del written  # a file that changed is another net
    return checkpoint.load(path).to(place)


@lru_cache(maxsize=1)
def _untrained(parts: str, place: str) -> nn.Module:
    """A net before its first step: random head, pretrained backbone."""
    model, pretrained, cache_dir, seed = json.loads(parts)
    torch.manual_seed(seed)
    net = checkpoint.build_net(model)
    checkpoint.load_backbone_weights(net, pretrained, Path(cache_dir))
    return net.eval().to(place)
