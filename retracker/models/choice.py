"""Where does refinement start: at this frame's match, or where the point was?"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retracker.types import Estimate, Grid, Noise


class Choice(nn.Module):
    """Prefer the previous position: replacing a good start costs sub-pixel accuracy. Thresholds, no weights.

    ``sure``: probability from which a match is believed; ``far_cells``: how much it must disagree to matter;
    ``random_share`` of all choices are random in training, and every start is moved by ``jitter_px``.
    """

    def __init__(self, sure: float, far_cells: float, random_share: float, jitter_px: float) -> None:
        super().__init__()
        self.sure, self.far_cells = sure, far_cells
        self.random_share, self.jitter_px = random_share, jitter_px

    def forward(
        self,
        cells: Float[Tensor, "B N classes"],
        grid: Grid,
        match: Estimate,
        last: Estimate,
        noise: Noise | None,
    ) -> Estimate:
        """Start at a match that is certain, not in the dustbin, and far from a visible last position."""
        believed = (match.certainty.sigmoid() > self.sure) & (cells.argmax(-1) < cells.shape[-1] - 1)
        far = (match.xy - last.xy).norm(dim=-1) > self.far_cells * grid.stride
        hidden = last.occlusion > 0
        jump = believed & (far | hidden)
        if noise is not None:
            by_lot = noise.choice < self.random_share
            jump = torch.where(by_lot, noise.choice < self.random_share / 2, jump)
        # This frame's own beliefs are the start of its logits: sums over frames would drift.
        start = replace(match.detach(), xy=torch.where(jump[..., None], match.xy.detach(), last.xy))
        if noise is None:
            return start
        return replace(start, xy=start.xy + self.jitter_px * noise.jitter)
