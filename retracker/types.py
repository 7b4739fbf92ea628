"""The nouns of the project: what a sample is, what a tracker remembers, what it predicts.

Axes: B batch, T frames, N query points, C channels, H W pixels, K cells, L levels, M memory slots,
F cached frames, P pixels of a patch. Coordinates: ``xy`` is in pixels of the image it accompanies, x right,
y down; (0, 0) is the upper-left corner of the upper-left pixel, so that pixel's centre is (0.5, 0.5).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

S = TypeVar("S", bound="TensorStruct")


@dataclass(frozen=True)
class TensorStruct:
    """A frozen record of tensors (or of such records) that is handled as one thing."""

    def map(self: S, fn: Callable[..., Tensor], *others: S) -> S:
        """Apply ``fn`` to every tensor inside, together with its counterparts in ``others``."""

        def visit(value: object, *rest: object) -> object:
            if isinstance(value, Tensor):
                return fn(value, *rest)
            if isinstance(value, TensorStruct):
                return TensorStruct.map(value, fn, *rest)  # a FeatureLevel's own .map is its tensor
            if isinstance(value, tuple):
                return tuple(visit(v, *r) for v, *r in zip(value, *rest, strict=True))
            return value

        def across(name: str) -> list[object]:
            return [getattr(struct, name) for struct in (self, *others)]

        return replace(self, **{f.name: visit(*across(f.name)) for f in fields(self)})

    def to(self: S, device: torch.device | str) -> S:
        return self.map(lambda x: x.to(device, non_blocking=True))

    def pin_memory(self: S) -> S:
        return self.map(Tensor.pin_memory)

    def detach(self: S) -> S:
        return self.map(Tensor.detach)


def where(mask: Bool[Tensor, "*B N"], yes: S, no: S) -> S:
    """Choose, point by point, between two records of N points (each tensor starts with ``*B N``)."""

    def choose(a: Tensor, b: Tensor) -> Tensor:
        return a if a is b else torch.where(mask.reshape(*mask.shape, *[1] * (a.ndim - mask.ndim)), a, b)

    return yes.map(choose, no)


def chunk(struct: S, number: int) -> list[S]:
    """Cut every tensor along its first axis into ``number`` equal parts: a record of each."""
    parts: list[Sequence[Tensor]] = []
    struct.map(lambda x: parts.append(x.chunk(number)) or x)

    def part(index: int) -> S:
        following = iter(parts)
        return struct.map(lambda _: next(following)[index])

    return [part(index) for index in range(number)]


def stack(samples: Sequence[S]) -> S:
    """Collate samples of equal shapes: every tensor gains a leading batch axis, every name a tuple."""

    def gather(values: list) -> object:
        if isinstance(values[0], Tensor):
            return torch.stack(values)
        if isinstance(values[0], TensorStruct):
            return stack(values)
        return None if values[0] is None else tuple(values)

    names = [f.name for f in fields(samples[0])]
    return replace(samples[0], **{name: gather([getattr(s, name) for s in samples]) for name in names})


@dataclass(frozen=True, kw_only=True)
class Queries(TensorStruct):
    """The points to track: where each one is, and in which frame it is asked for."""

    xy: Float[Tensor, "*B N 2"]  # px, in its own frame
    frame: Int[Tensor, "*B N"]  # the frame each is born in


@dataclass(frozen=True, kw_only=True)
class DenseFlow(TensorStruct):
    """Where every pixel of frame 0 goes: its centre plus ``displacement[t]`` is its position in frame t."""

    displacement: Float[Tensor, "*B T H W 2"]  # px
    valid: Bool[Tensor, "*B T H W"]  # the position is known and the point is visible in frame t
    absent: Bool[Tensor, "*B T H W"] | None = None  # known not to be visible there; None: nothing is known


@dataclass(frozen=True, kw_only=True)
class Noise(TensorStruct):
    """The random numbers of one training clip, drawn with the sample so that no rank or worker matters.

    ``noise.map(lambda x: x[:, t])`` is that of one frame.
    """

    choice: Float[Tensor, "*B T N"]  # uniform in [0, 1): where refinement starts
    jitter: Float[Tensor, "*B T N 2"]  # standard normal: how far that start is moved
    drop: Float[Tensor, "*B T N"]  # uniform in [0, 1): which memory frames are dropped or replaced


@dataclass(frozen=True, kw_only=True)
class VideoSample(TensorStruct):
    """One clip with ground truth; an image pair is a clip of two frames."""

    video: UInt8[Tensor, "*B T 3 H W"]  # RGB
    queries: Queries
    tracks: Float[Tensor, "*B T N 2"]  # px, finite everywhere
    visible: Bool[Tensor, "*B T N"]
    labelled: Bool[Tensor, "*B T N"]  # visibility is known
    located: Bool[Tensor, "*B T N"]  # position is known
    name: str | tuple[str, ...]  # "<dataset>/<clip>", enough to find it again
    flow: DenseFlow | None = None
    noise: Noise | None = None


@dataclass(frozen=True, kw_only=True)
class PairSample(TensorStruct):
    """Two posed views with depth: what matching is supervised from and measured on.

    Both lie in the upper-left corners of frames of one size, so that pairs can be stacked.
    """

    image0: UInt8[Tensor, "*B 3 H W"]  # RGB; black beyond size0
    image1: UInt8[Tensor, "*B 3 H W"]
    size0: Int[Tensor, "*B 2"]  # height and width of the view itself, px
    size1: Int[Tensor, "*B 2"]
    depth0: Float[Tensor, "*B H W"]  # along the optical axis, in the unit of the pose; 0 where unknown
    depth1: Float[Tensor, "*B H W"]
    intrinsics0: Float[Tensor, "*B 3 3"]  # to raster pixels: the upper-left pixel's centre is (0.5, 0.5)
    intrinsics1: Float[Tensor, "*B 3 3"]
    pose_0to1: Float[Tensor, "*B 4 4"]  # from the camera frame of view 0 to that of view 1
    name: str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LocalFeatures(TensorStruct):
    """The keypoints of one image, the surest first, and what each looks like."""

    xy: Float[Tensor, "*B K 2"]  # px
    geometry: Float[Tensor, "*B K G"]  # what a detector says beyond that: (size, angle in rad), or (score,)
    descriptors: Float[Tensor, "*B K D"]  # of unit length; or -1 and +1, the bits of a binary one
    present: Bool[Tensor, "*B K"]  # False: padding, there only because another image has more
    size: Int[Tensor, "*B 2"]  # height and width of the image, px


@dataclass(frozen=True, kw_only=True)
class FeaturePair(TensorStruct):
    """Two images by their keypoints, and where those of each lie in the other."""

    features0: LocalFeatures
    features1: LocalFeatures
    moved0: Float[Tensor, "*B K0 2"]  # the keypoints of image 0, px of image 1; 0 where not known
    known0: Bool[Tensor, "*B K0"]  # seen there, and where is known
    moved1: Float[Tensor, "*B K1 2"]  # the keypoints of image 1, px of image 0
    known1: Bool[Tensor, "*B K1"]
    name: str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FeatureLevel(TensorStruct):
    """One feature map: the centre of its cell (column i, row j) lies at ``stride * (i, j) + offset`` px."""

    map: Float[Tensor, "*B C H W"]
    stride: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class MatchLevel(FeatureLevel):
    """A frame's cells as the coarse matcher compares points with them; K cells, row by row."""

    directions: Float[Tensor, "*B K C"]  # of unit length: class logits are cosines with these
    contexts: tuple[tuple[Tensor, Tensor], ...]  # keys and values, *B h K d, for each block of attention


@dataclass(frozen=True, kw_only=True)
class FeaturePyramid(TensorStruct):
    """All that is kept of a frame: what refinement correlates with, and what matching classifies over."""

    levels: tuple[FeatureLevel, ...]  # coarse to fine, each L2-normalised over channels
    height: int  # px of the frame itself; cells beyond it are padding
    width: int
    matching: MatchLevel | None = None  # encoded by the coarse matcher


@dataclass(frozen=True, kw_only=True)
class Estimate(TensorStruct):
    """Where each point is in one frame, and how far to believe it."""

    xy: Float[Tensor, "B N 2"]  # px
    certainty: Float[Tensor, "B N"]  # logit; higher: xy is close to the truth
    occlusion: Float[Tensor, "B N"]  # logit; higher: the point is hidden


@dataclass(frozen=True, kw_only=True)
class TemporalMemory(TensorStruct):
    """What each point keeps of its past, in fixed-capacity rings, newest first."""

    patches: tuple[Tensor, ...]  # per level: B N M P C, template-size patches; 0 where ``gate`` is
    tokens: Float[Tensor, "B N M C"]  # what the coarse matcher saw there
    gate: Float[Tensor, "B N M"]  # how sure the tracker was when it wrote the slot; 0 = empty
    written: Int[Tensor, "B N"]  # how many times a slot has been written
    keys: Float[Tensor, "B N L F D"]  # of the refiner's tokens in the last F frames, per level
    values: Float[Tensor, "B N L F D"]
    filled: Float[Tensor, "B N F"]  # 1 where that frame holds something


@dataclass(frozen=True, kw_only=True)
class TrackState(TensorStruct):
    """All that crosses from frame to frame; each tensor starts with B N, so points can be picked."""

    alive: Bool[Tensor, "B N"]  # born in this frame or before
    token: Float[Tensor, "B N C"]  # the query as the coarse matcher sees it
    templates: tuple[Tensor, ...]  # per level: B N P C, the patch around the query in its own frame
    last: Estimate
    velocity: Float[Tensor, "B N 2"]  # px moved in the last frame
    memory: TemporalMemory

    def moved_to(self, xy: Float[Tensor, "B N 2"], which: Bool[Tensor, "B N"]) -> "TrackState":
        """With some points where they are known to be (px) in the frame that was just tracked."""
        step = torch.where(which[..., None], xy - self.last.xy, 0.0)
        last = replace(self.last, xy=self.last.xy + step)
        return replace(self, last=last, velocity=self.velocity + step)


@dataclass(frozen=True, kw_only=True)
class FramePrediction(TensorStruct):
    """What the tracker says of one frame, with the stages that training supervises."""

    xy: Float[Tensor, "B N 2"]  # the answer; the query itself in and before its birth frame
    visible: Bool[Tensor, "B N"]
    confidence: Float[Tensor, "B N"]  # P(visible and within 8 px at 256 scale)
    supervised: Bool[Tensor, "B N"]  # alive and not born in this very frame: the loss counts here
    cells: Float[Tensor, "B N classes"]  # coarse class logits over the grid, row by row, the dustbin last
    grid: "Grid"  # which cells those classes are
    coarse: Estimate
    refined: tuple[Estimate, ...]  # one per iteration, coarse level first
    levels: tuple[int, ...]  # the level of each entry of ``refined``
    anchor_cells: Float[Tensor, "B A classes"] | None = None
    dense: Float[Tensor, "B N P 2"] | None = None  # px from ``xy`` to where each template pixel is now
    dense_offsets: Float[Tensor, "P 2"] | None = None  # px from the query to each template pixel at birth


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells that the coarse matcher classifies over."""

    rows: int
    columns: int
    stride: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class Prediction(TensorStruct):
    """The tracks of one batch of clips, with everything that training supervises."""

    tracks: Float[Tensor, "B T N 2"]  # px
    visible: Bool[Tensor, "B T N"]
    confidence: Float[Tensor, "B T N"]
    frames: tuple[FramePrediction, ...]


@dataclass(frozen=True, kw_only=True)
class TrackResult(TensorStruct):
    """The tracks of one clip as users get them, on the CPU."""

    tracks: Float[Tensor, "T N 2"]  # raster px of the video's own frames
    visible: Bool[Tensor, "T N"]
    confidence: Float[
        Tensor, "T N"
    ]  # in [0, 1]; 0 where nobody has looked for the point, as before its birth
    size: tuple[int, int] | None = None  # height and width of the video; None: not known
    fps: float | None = None  # None: not known
    times: Float[Tensor, " T"] | None = None  # float64 s, when each frame is shown; None: not known
    frames: Int[Tensor, " T"] | None = None  # their numbers in the video; None: all from 0 on
    queries: Float[Tensor, "N 3"] | None = None  # float64 (t, x, y): what was asked for; None: not known

    @property
    def first_frame(self) -> Int[Tensor, " N"]:
        """The first frame that each point has an answer for; T for none."""
        known = self.confidence > 0
        none = torch.full(known.shape[1:], len(known))
        return torch.where(known.any(0), known.int().argmax(0), none) if len(known) else none
