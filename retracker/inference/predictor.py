"""ReTracker behind the call signature of co-tracker's predictor."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.inference.clip import track


class CoTrackerPredictor(nn.Module):
    """A drop-in for ``CoTrackerPredictor``: same arguments, same results, another tracker inside.

    Positions are raster pixels (the corner of the image is (0, 0)) of the video as given, like everywhere
    here. One thing is missing: co-tracker's dense mode, a track for every pixel, which it enters when it is
    given neither queries nor a grid; here that is a ValueError.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        video: Float[Tensor, "B T 3 H W"],
        queries: Float[Tensor, "B N 3"] | None = None,
        segm_mask: Tensor | None = None,
        grid_size: int = 0,
        grid_query_frame: int = 0,
        backward_tracking: bool = False,
    ) -> tuple[Float[Tensor, "B T N 2"], Bool[Tensor, "B T N"]]:
        """Track through a batch of videos with values 0..255.

        The points are either ``queries`` (t, x, y), or a regular grid of ``grid_size`` a side in frame
        ``grid_query_frame``, kept only where ``segm_mask`` (B, 1, H, W) is above 0.5 if there is one (then B
        = 1). Returns positions and whether each point is visible, on the video's device. Raises ValueError
        if neither queries nor a grid is given, and what ``retracker.track`` raises.
        """
        if queries is None:
            queries = _grid_queries(video, segm_mask, grid_size, grid_query_frame)
        clips = video.round().clamp(0, 255).to(torch.uint8)
        results = [
            track(self.model, clip, points, backward=backward_tracking)
            for clip, points in zip(clips, queries, strict=True)
        ]
        tracks = torch.stack([result.tracks for result in results]).to(video.device)
        visible = torch.stack([result.visible for result in results]).to(video.device)
        return tracks, visible


def grid_with_margin(height: int, width: int, count: int) -> Float[Tensor, "N 2"]:
    """Co-tracker's grid: ``count`` points a side, a 64th of the width off the border, row by row (px).

    In frames so flat that this would cross them, the margin is a quarter of their height.
    """
    if count == 1:
        return torch.tensor([[width / 2, height / 2]])
    margins = [(min(width / 64, side / 4), side) for side in (width, height)]
    x, y = (torch.linspace(margin, side - margin, count) for margin, side in margins)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)


def _grid_queries(
    video: Tensor, segm_mask: Tensor | None, grid_size: int, frame: int
) -> Float[Tensor, "B N 3"]:
    if grid_size < 1:
        raise ValueError("expected queries or a grid_size of at least 1, got neither")
    batch, (height, width) = len(video), video.shape[-2:]
    points = grid_with_margin(height, width, grid_size)
    if segm_mask is not None:
        points = points[_inside_mask(points, segm_mask, height, width, batch)]
    queries = torch.cat([torch.full_like(points[:, :1], frame), points], dim=-1)
    return queries.expand(batch, -1, -1)


def _inside_mask(
    points: Tensor, segm_mask: Tensor, height: int, width: int, batch: int
) -> Bool[Tensor, " N"]:
    if batch != 1 or segm_mask.ndim != 4 or segm_mask.shape[:2] != (1, 1):
        raise ValueError(
            f"expected one video and a segm_mask of shape (1, 1, H, W), "
            f"got {batch} and {tuple(segm_mask.shape)}"
        )
    mask = F.interpolate(segm_mask.float().cpu(), (height, width), mode="nearest-exact")[0, 0] > 0.5
    column, row = points.long().unbind(-1)  # the pixel whose square holds the raster position
    return mask[row.clamp(max=height - 1), column.clamp(max=width - 1)]
