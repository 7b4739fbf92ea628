"""Posed pairs with depth -> clips of two frames: where points of view 0 are in view 1, and which are seen."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from retracker.data.recordings import Unusable
from retracker.geometry.camera import project, transform, unproject
from retracker.geometry.depth import read_depth
from retracker.types import DenseFlow, PairSample, Queries, VideoSample

SAME_DEPTH = 0.05  # RoMa's: depths that differ by no more than this share are of one surface


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What view 1 shows of N points of view 0.

    Seen or hidden: the position is known. Outside (behind the camera, too): that there is none. The rest is
    unknown: no depth at the point or where it would be, a depth edge at either, or a depth farther away
    than the point itself, which contradicts it.
    """

    xy: Float[Tensor, "N 2"]  # px in view 1, float64; 0 where it is not known
    seen: Bool[Tensor, " N"]
    hidden: Bool[Tensor, " N"]  # behind something nearer
    outside: Bool[Tensor, " N"]


def transfer(pair: PairSample, xy: Float[Tensor, "N 2"], tolerance: float) -> Transfer:
    """Carry points of view 0 to view 1 by depth and pose, and compare with the depth that is there.

    Depth is interpolated as inverse depth, which is exact on planes, among pixels that differ by no more
    than the tolerance (a share). Scaling depth and translation alike changes nothing.
    """
    depth0, depth1 = _view(pair.depth0, pair.size0), _view(pair.depth1, pair.size1)
    xy = xy.double()
    start = read_depth(depth0, xy)
    usable = start.smooth(tolerance)
    points = unproject(xy, torch.where(usable, start.depth, 1.0), pair.intrinsics0.double())
    places, ahead = project(transform(pair.pose_0to1.double(), points), pair.intrinsics1.double())
    height, width = depth1.shape
    stored = places.float()  # as tracks are: just before the border, this may round onto it
    inside = (ahead > 0) & (stored >= 0).all(-1) & (stored < stored.new_tensor([width, height])).all(-1)
    places = torch.where(inside[:, None], places, 0.5)  # somewhere to read
    there = read_depth(depth1, places)
    ahead = torch.where(inside, ahead, 1.0)
    same = (ahead <= there.depth * (1 + tolerance)) & (ahead >= there.depth * (1 - tolerance))
    seen = usable & inside & there.smooth(tolerance) & same
    hidden = usable & inside & there.known & (ahead > there.largest * (1 + tolerance))
    return Transfer(
        xy=torch.where((seen | hidden)[:, None], places, 0.0),
        seen=seen,
        hidden=hidden & ~seen,
        outside=usable & ~inside,
    )


def supervised_clip(
    pair: PairSample, xy: Float[Tensor, "N 2"], *, dense: bool, tolerance: float = SAME_DEPTH
) -> VideoSample:
    """The pair as two frames, with N queries at ``xy`` in the first; ``dense`` adds the flow of all pixels.

    In frame 1 a point is visible where it is seen; hidden points are located and not visible; points outside
    of view 1 are not visible and nowhere; of all others nothing is labelled.
    Raises ValueError if a query lies outside of view 0.
    """
    height, width = pair.size0.tolist()
    if not ((xy >= 0).all() and (xy < xy.new_tensor([width, height])).all()):
        raise ValueError(f"{pair.name}: a query lies outside of view 0 ({height} x {width} px)")
    found = transfer(pair, xy, tolerance)
    return _clip(
        pair,
        xy,
        place=found.xy.float(),
        visible=found.seen,
        labelled=found.seen | found.hidden | found.outside,
        located=found.seen | found.hidden,
        flow=_flow(pair, tolerance) if dense else None,
    )


def unmatched_clip(pair: PairSample, xy: Float[Tensor, "N 2"], *, dense: bool) -> VideoSample:
    """Two views of different scenes as two frames: no point of the first is anywhere in the second.

    ``dense`` adds that the same holds for every pixel whose depth is known (one sky is like another).
    """
    never = torch.zeros(len(xy), dtype=torch.bool)
    flow = None
    if dense:
        nowhere = torch.zeros_like(pair.depth0, dtype=torch.bool)
        flow = _dense_flow(pair, torch.zeros(*pair.depth0.shape, 2), nowhere, pair.depth0 > 0)
    return _clip(
        pair, xy, place=torch.zeros_like(xy), visible=never, labelled=~never, located=never, flow=flow
    )


def query_points(pair: PairSample, num_points: int, rng: np.random.Generator) -> Float[Tensor, "N 2"]:
    """Places in view 0, between pixel centres, where depth is known and smooth; each as likely.

    Raises Unusable if there is none.
    """
    depth = _view(pair.depth0, pair.size0)
    corners = torch.stack([depth[:-1, :-1], depth[:-1, 1:], depth[1:, :-1], depth[1:, 1:]])  # 4 H-1 W-1
    smallest, largest = corners.amin(0), corners.amax(0)
    cells = ((smallest > 0) & (largest <= smallest * (1 + SAME_DEPTH))).nonzero()  # row, column
    if not len(cells):
        raise Unusable(f"{pair.name}: view 0 has no place where depth is known and smooth")
    chosen = cells[torch.from_numpy(rng.integers(len(cells), size=num_points))]
    inner = torch.from_numpy(rng.random((num_points, 2)))
    return (chosen.flip(-1) + 0.5 + inner).float()


def _view(depth: Float[Tensor, "H W"], size: Tensor) -> Float[Tensor, "h w"]:
    height, width = size.tolist()
    return depth[:height, :width].contiguous()


def _clip(
    pair: PairSample,
    xy: Float[Tensor, "N 2"],
    *,
    place: Float[Tensor, "N 2"],
    visible: Bool[Tensor, " N"],
    labelled: Bool[Tensor, " N"],
    located: Bool[Tensor, " N"],
    flow: DenseFlow | None,
) -> VideoSample:
    """Two frames of which all is known in the first, and the given labels hold in the second."""
    everywhere = torch.ones_like(visible)
    return VideoSample(
        video=torch.stack([pair.image0, pair.image1]),
        queries=Queries(xy=xy, frame=torch.zeros(len(xy), dtype=torch.long)),
        tracks=torch.stack([xy, place]),
        visible=torch.stack([everywhere, visible]),
        labelled=torch.stack([everywhere, labelled]),
        located=torch.stack([everywhere, located]),
        name=pair.name,
        flow=flow,
    )


def _flow(pair: PairSample, tolerance: float) -> DenseFlow:
    """From every pixel of frame 0 to both frames; to frame 0 itself it is none."""
    height, width = pair.size0.tolist()
    rows, columns = torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    y, x = torch.meshgrid(rows + 0.5, columns + 0.5, indexing="ij")
    centres = torch.stack([x, y], dim=-1)  # h w 2
    found = transfer(pair, centres.flatten(0, 1), tolerance)
    change = torch.where(found.seen[:, None], found.xy - centres.flatten(0, 1), 0.0)
    # Beyond view 0 its frame is padding, of which nothing is known.
    margins = (0, pair.depth0.shape[1] - width, 0, pair.depth0.shape[0] - height)

    def framed(values: Tensor) -> Tensor:
        return F.pad(values.unflatten(0, (height, width)), margins)

    return _dense_flow(
        pair,
        torch.stack([framed(part) for part in change.float().unbind(-1)], dim=-1),
        framed(found.seen),
        framed(found.hidden | found.outside),
    )


def _dense_flow(
    pair: PairSample,
    displacement: Float[Tensor, "H W 2"],
    valid: Bool[Tensor, "H W"],
    absent: Bool[Tensor, "H W"],
) -> DenseFlow:
    """The flow to frame 1 as given; to frame 0 itself nothing moves."""
    height, width = pair.size0.tolist()
    own = torch.zeros_like(valid)
    own[:height, :width] = True
    return DenseFlow(
        displacement=torch.stack([torch.zeros_like(displacement), displacement]),
        valid=torch.stack([own, valid]),
        absent=torch.stack([torch.zeros_like(own), absent]),
    )
