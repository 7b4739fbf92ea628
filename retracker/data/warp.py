"""Look at a clip through a homography per frame: pictures, tracks, visibility, queries and flow alike."""

from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from retracker.data.points import asked_where_seen
from retracker.data.recordings import FARTHEST, in_frame
from retracker.geometry.homography import affine, for_indices, jacobian, transform
from retracker.types import DenseFlow, VideoSample

MARGIN = 2  # cells around what a view shows, for interpolation
LARGEST_CELL = 64  # px averaged into one; a view that shrinks more is all but a dot
SAME_SURFACE = (
    1.0  # px: neighbouring pixels whose displacements differ by more may lie on both sides of an edge
)


def warp(sample: VideoSample, matrices: Float[Tensor, "T 3 3"], size: tuple[int, int]) -> VideoSample:
    """The clip in new frames of (height, width) ``size``; ``matrices`` take old raster pixels to new ones.

    What lies beyond the old frames is black. A point outside the new ones is hidden, and still located.
    """
    matrices = matrices.double()
    video = warp_frames(sample.video, matrices, size)
    tracks, ahead = transform(matrices, sample.tracks)
    located = sample.located & ahead & (tracks.abs() < FARTHEST).all(-1)
    tracks = torch.where(located[..., None], tracks.float(), 0.0)
    xy, _ = transform(matrices[sample.queries.frame], sample.queries.xy[:, None])
    warped = replace(
        sample,
        video=video,
        queries=replace(sample.queries, xy=xy[:, 0].float()),
        tracks=tracks,
        visible=sample.visible & located & in_frame(tracks, video),
        located=located,
        flow=None if sample.flow is None else warp_flow(sample.flow, matrices, size),
    )
    return asked_where_seen(warped)


def warp_frames(
    video: UInt8[Tensor, "T 3 H W"], matrices: Float[Tensor, "T 3 3"], size: tuple[int, int]
) -> UInt8[Tensor, "T 3 h w"]:
    """Resample each frame once; where a view shrinks it, whole numbers of pixels are averaged first."""
    height, width = size
    old = video.contiguous().numpy()
    new = np.zeros((len(old), 3, height, width), np.uint8)
    corners = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]], dtype=torch.float64)
    shown, ahead = transform(torch.linalg.inv(matrices), corners)  # T 4 2, in old pixels
    cell = shrinking(matrices, shown.mean(1))  # T 2
    low, high = boxes_around(shown, ahead.all(1), cell, old.shape[2:])
    from_cells = affine(torch.diag_embed(cell.double()), torch.zeros_like(shown[:, 0]), low.double())
    index_maps = for_indices(matrices @ from_cells).numpy()
    for t in (low < high).all(-1).nonzero()[:, 0].tolist():
        (left, top), (right, bottom), (across, down) = (x[t].tolist() for x in (low, high, cell))
        for plane, target in zip(old[t], new[t], strict=True):
            part = averaged(plane[top:bottom, left:right], across, down)
            cv2.warpPerspective(part, index_maps[t], (width, height), dst=target, flags=cv2.INTER_LINEAR)
    return torch.from_numpy(new)


def shrinking(matrices: Float[Tensor, "T 3 3"], centre: Float[Tensor, "T 2"]) -> Int[Tensor, "T 2"]:
    """How many old pixels, along x and along y, a new one covers at the middle of each view; at least 1."""
    longer = jacobian(matrices, centre[:, None])[:, 0].norm(
        dim=-2
    )  # T 2: what a step along x, along y becomes
    if len(matrices) > 2:  # one for all frames: a sharpness that switches in mid-clip would be seen
        longer = longer.log().mean(0).exp().expand_as(longer)
    return (1 / longer).round().clamp(1, LARGEST_CELL).long()


def boxes_around(
    corners: Float[Tensor, "T 4 2"],
    whole: Bool[Tensor, " T"],
    cell: Int[Tensor, "T 2"],
    size: tuple[int, ...],
) -> tuple[Int[Tensor, "T 2"], Int[Tensor, "T 2"]]:
    """What views need of the old frames: (left, top) and (right, bottom), equal or worse if it is nothing.

    A view whose corners do not all look at the plane (not ``whole``) may need all of a frame.
    """
    limit = torch.tensor([size[1], size[0]])
    low = (corners.amin(1).floor().long() - MARGIN * cell).clamp(min=0)
    high = torch.minimum(corners.amax(1).ceil().long() + MARGIN * cell, limit)
    return torch.where(whole[:, None], low, 0), torch.where(whole[:, None], high, limit)


def averaged(plane: UInt8[np.ndarray, "H W *C"], across: int, down: int) -> UInt8[np.ndarray, "h w *C"]:
    """Each cell of pixels as their mean; the last row and column are repeated to fill theirs."""
    if across == down == 1:
        return plane
    height, width = plane.shape[:2]
    missing = (-height % down, -width % across)
    if any(missing):
        plane = cv2.copyMakeBorder(plane, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    return cv2.resize(plane, (plane.shape[1] // across, plane.shape[0] // down), interpolation=cv2.INTER_AREA)


def warp_flow(flow: DenseFlow, matrices: Float[Tensor, "T 3 3"], size: tuple[int, int]) -> DenseFlow:
    """Dense flow between the new frames; unknown for what was not in the old frame 0.

    What leaves the new frames is known to be absent there, and what was absent stays so.
    """
    height, width = size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = torch.stack([x, y], dim=-1).reshape(-1, 2) + 0.5  # P 2
    start, ahead = transform(torch.linalg.inv(matrices[0]), centres)
    limit = torch.tensor([width, height])
    moved, known, lost = [], [], []
    old_absent = known_absent(flow)
    for t in range(len(matrices)):
        change, valid = read_flow(flow.displacement[t], flow.valid[t], start)
        there, in_front = transform(matrices[t], start + change)
        inside = ((there >= 0) & (there < limit)).all(-1) & in_front
        known.append((valid & ahead & inside).reshape(height, width))
        gone = (valid & ~inside) | read_mask(old_absent[t], start)
        lost.append((gone & ahead).reshape(height, width))
        moved.append(torch.where(known[-1].reshape(-1, 1), there - centres, 0.0).reshape(height, width, 2))
    return DenseFlow(
        displacement=torch.stack(moved).float(), valid=torch.stack(known), absent=torch.stack(lost)
    )


def known_absent(flow: DenseFlow) -> Bool[Tensor, "*B T H W"]:
    """Where it is known that a pixel is not to be seen; nowhere if a flow says nothing of it."""
    return torch.zeros_like(flow.valid) if flow.absent is None else flow.absent


def read_mask(mask: Bool[Tensor, "H W"], xy: Float[Tensor, "P 2"]) -> Bool[Tensor, " P"]:
    """What holds for the pixels that places lie in; nothing beyond the frame."""
    limit = torch.tensor([mask.shape[1], mask.shape[0]])
    return ((xy >= 0) & (xy < limit)).all(-1) & mask.flatten()[index(xy.floor().long(), limit)]


def read_flow(
    displacement: Float[Tensor, "H W 2"], valid: Bool[Tensor, "H W"], xy: Float[Tensor, "P 2"]
) -> tuple[Float[Tensor, "P 2"], Bool[Tensor, " P"]]:
    """The displacement at any places: interpolated within one surface, else that of the pixel they lie in."""
    height, width = valid.shape
    limit = torch.tensor([width, height])
    inside = ((xy >= 0) & (xy < limit)).all(-1)
    own = index(xy.floor().long(), limit)
    corner = (xy - 0.5).floor()
    right, down = (xy - 0.5 - corner).unbind(-1)
    offsets = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]])
    around = index(corner.long() + offsets[:, None], limit)  # 4 P
    weight = torch.stack([(1 - right) * (1 - down), right * (1 - down), (1 - right) * down, right * down])
    four = displacement.reshape(-1, 2)[around].to(xy.dtype)  # 4 P 2
    spread = (four.amax(0) - four.amin(0)).amax(-1)
    smooth = valid.flatten()[around].all(0) & (spread < SAME_SURFACE)
    nearest = displacement.reshape(-1, 2)[own].to(xy.dtype)
    mixed = (weight[..., None] * four).sum(0)
    return torch.where(smooth[:, None], mixed, nearest), inside & valid.flatten()[own]


def index(cell: Int[Tensor, "*B 2"], limit: Int[Tensor, "2"]) -> Int[Tensor, "*B"]:
    """The place of a pixel (column, row) in a flattened frame; the nearest one for those outside."""
    column, row = torch.minimum(cell.clamp(min=0), limit - 1).unbind(-1)
    return row * limit[0] + column
