"""Points of one view found in another: a clip of two frames, which need not be alike in size or scale.

A network that has learnt from videos expects its second frame to show things about as large as the first,
and a point to be looked for near where it was. Two images of different shape, each brought to the same area,
break both: a portrait cut out of a landscape appears enlarged, and positions of the one may lie outside the
other. So images of different shape or number of pixels are looked at in each sensible way, and the way that
the network is surest of on a fixed grid of points is taken. It does not depend on the points asked for.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference.frames import GROUP_SIZE, SHORTEST_PX
from retracker.inference.image_encoder import EncodedView, ImageEncoder, View
from retracker.inference.subpixel import sharpen
from retracker.models.tracker import surer_than
from retracker.types import TensorStruct, TrackState

ALIKE = 1.1  # sizes that differ by no more are one
FARTHEST_ZOOM = 2.0  # of a side against its own working size: more costs too much, less shows too little
PROBES = 11  # points a side: one group


@dataclass(frozen=True, kw_only=True)
class Found(TensorStruct):
    """Where points of one view are in the other, on the CPU."""

    xy: Float[Tensor, "N 2"]  # px of the other view
    matched: Bool[Tensor, " N"]  # visible there, inside, and with something to see around both ends
    confidence: Float[Tensor, " N"]  # in [0, 1]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to look at the second view after the first."""

    encoded: EncodedView  # of the second view
    moved: bool  # whether points are first looked for at the same share of the frame, not the same px


class TwoViews:
    """A pair of views, encoded; ``find`` looks for any points of the first in the second.

    ``match_threshold``, in [0, 1], takes the place of the network's in what ``find`` calls matched.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        first: View,
        second: View,
        match_threshold: float | int | None = None,
    ) -> None:
        self.net = encoder.model
        self.own_threshold = min(self.net.match_threshold, self.net.visible_threshold)
        self.threshold = self.own_threshold if match_threshold is None else match_threshold
        self.sizes = second.size, encoder.own_size(second)
        self.images = first.image, second.image
        self.first = encoder.encode(first, encoder.own_size(first))
        ways = [
            Way(encoded=encoder.encode(second, small), moved=moved)
            for small in _sizes(self.first, second, encoder.own_size(second))
            for moved in ((False,) if _alike(small, self.first.small) else (False, True))
        ]
        self.way = ways[0] if len(ways) == 1 else max(ways, key=self._sureness)

    def find(self, xy: Float[Tensor, "N 2"]) -> Found:
        """Look for points of the first view (px)."""
        return self._find(self.first.inward(xy), self.way, self.threshold)

    def at_working_size(self, xy: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Positions or steps in the second view (px), in px of the working size that it has by itself."""
        return rescale(xy, *self.sizes)

    def sharpen(self, xy: Float[Tensor, "N 2"], there: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Move what ``find`` said of points, ``there``, to where their surroundings lie: ``subpixel.py``."""
        laid = sharpen(self.images, (xy, there), (self.first.small, self.way.encoded.small))
        height, width = self.sizes[0]
        inside = ((laid.xy >= 0) & (laid.xy <= laid.xy.new_tensor([width, height]))).all(-1)
        return torch.where(inside[:, None], laid.xy, there)

    def _sureness(self, way: Way) -> float:
        # By the network's own threshold: another one is to choose among matches, not to move them.
        found = self._find(grid_points(*self.first.small, PROBES), way, self.own_threshold)
        return found.confidence[found.matched].double().sum().item()

    def _find(self, xy: Float[Tensor, "N 2"], way: Way, threshold: float | int) -> Found:
        """Look for points of the first view's working size in one way."""
        with torch.inference_mode():
            parts = [_find_group(self.net, self.first, way, some, threshold) for some in xy.split(GROUP_SIZE)]
        found = parts[0].map(lambda *values: torch.cat(values), *parts[1:])
        textured = self.first.has_texture(xy) & way.encoded.has_texture(found.xy)
        there = way.encoded.outward(found.xy).clone()
        height, width = way.encoded.size
        inside = ((there >= 0) & (there <= there.new_tensor([width, height]))).all(-1)
        # Clones made outside of inference mode are ordinary tensors, which users may write into.
        return Found(xy=there, matched=found.matched & inside & textured, confidence=found.confidence.clone())


def grid_points(height: int, width: int, count: int) -> Float[Tensor, "N 2"]:
    """The centres of ``count`` x ``count`` equal tiles of an image, row by row, in raster px."""
    if count < 1:
        raise ValueError(f"expected a grid of at least 1 point a side, got {count}")
    return tile_centres((height, width), count, count).reshape(-1, 2)


def tile_centres(size: tuple[int, int], rows: int, columns: int) -> Float[Tensor, "rows columns 2"]:
    """The centres of rows x columns equal tiles of an image of (height, width), in raster px."""
    height, width = size
    x = (torch.arange(columns) + 0.5) * width / columns
    y = (torch.arange(rows) + 0.5) * height / rows
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def _sizes(first: EncodedView, second: View, own: tuple[int, int]) -> list[tuple[int, int]]:
    """The working sizes to look at the second view in: its own, and the one that scales both alike."""
    scale = (first.small[0] * first.small[1] / (first.size[0] * first.size[1])) ** 0.5
    zoom = scale * (second.size[0] * second.size[1] / (own[0] * own[1])) ** 0.5
    zoom = min(FARTHEST_ZOOM, max(1 / FARTHEST_ZOOM, zoom))
    scaled = tuple(max(SHORTEST_PX, round(zoom * side)) for side in own)
    return [own] if _alike(scaled, own) else [own, scaled]


def _alike(size: tuple[int, int], other: tuple[int, int]) -> bool:
    return all(max(a, b) <= ALIKE * min(a, b) for a, b in zip(size, other, strict=True))


def _find_group(
    net: nn.Module, first: EncodedView, way: Way, xy: Float[Tensor, "n 2"], threshold: float | int
) -> Found:
    """Up to ``GROUP_SIZE`` points, in px of the working sizes; always as many slots: see ``slots.py``."""
    device = first.features.matching.map.device
    start = torch.zeros(1, GROUP_SIZE, 2)
    start[0, : len(xy)] = xy
    start, born = start.to(device), (torch.arange(GROUP_SIZE) < len(xy))[None].to(device)
    _, state = net.step(first.features, None, start, born)
    if way.moved:
        state = _moved(state, first.small, way.encoded.small)
    frame, _ = net.step(way.encoded.features, state, start, torch.zeros_like(born))
    matched = surer_than(frame.refined[-1], threshold)[0]
    answer = Found(xy=frame.xy[0].float(), matched=matched, confidence=frame.confidence[0].float())
    return answer.map(lambda x: x.cpu()[: len(xy)])


def _moved(state: TrackState, size: tuple[int, int], new_size: tuple[int, int]) -> TrackState:
    """Points that were last seen in a frame of another (height, width)."""
    return replace(state, last=replace(state.last, xy=rescale(state.last.xy, size, new_size)))
