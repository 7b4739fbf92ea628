"""Where in the whole frame? Each point is classified into one cell of a grid, or into the dustbin."""

from math import log

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retracker.geometry.coords import cell_centres, grid_of, patch_offsets
from retracker.models.layers.attention import Block, Place, mlp, rope_angles, sine_encoding, zero_init
from retracker.types import Estimate, FeatureLevel, FeaturePyramid, Grid, MatchLevel

LONGEST = 128.0  # cells: the slowest channel of a position turns once over this distance
POSITIONS = {"rope": rope_angles, "sine": sine_encoding}
MAX_TEMPERATURE = 100.0  # as in CLIP: beyond it the soft-max is a hard one


class CoarseMatcher(nn.Module):
    """Compare each query with every cell of the frame.

    Points never see each other: a query attends to its own memory and to the frame, nothing else. All blocks
    start as identities, so that an untrained matcher is nearest neighbour in the backbone's features.
    """

    def __init__(  # noqa: PLR0913 -- a yaml's keys, one for one
        self,
        channels: int,
        level: int,
        heads: int,
        blocks: int,
        pool: int,
        window: int,
        backend: str,
        position: str = "rope",  # of checkpoints from before there was a choice
    ) -> None:
        super().__init__()
        if position not in POSITIONS:
            raise ValueError(f"coarse.position: expected one of {', '.join(POSITIONS)}, got {position!r}")
        self.position = position
        self.channels, self.level = channels, level
        self.pool, self.window, self.heads = pool, window, heads
        self.map_blocks = nn.ModuleList(Block(channels, heads, 2, backend) for _ in range(blocks))
        self.memory_block = Block(channels, heads, 2, "full")
        self.query_blocks = nn.ModuleList(Block(channels, heads, 2, backend) for _ in range(blocks))
        self.decode_query = zero_init(nn.Linear(channels, channels))
        self.decode_map = zero_init(nn.Linear(channels, channels))
        self.temperature = nn.Parameter(torch.tensor(log(20.0)))
        self.dustbin = mlp(channels, channels, 1)
        # With XFeat, cosines of unrelated cells lie near 0.5 and of true matches near 0.93, which makes
        # logsumexp - log(K) about 13.5 for points that are there. Start below that.
        self.dustbin_bias = nn.Parameter(torch.tensor(12.0))
        self.belief = nn.Sequential(
            nn.Linear(channels + 3, channels), nn.GELU(), zero_init(nn.Linear(channels, 2))
        )

    def encode(self, pyramid: FeaturePyramid) -> MatchLevel:
        """The cells of a frame (padding cut off) after self-attention on a pooled map, ready for ``forward``.

        Once per frame, however many points there are.
        """
        level = pyramid.levels[self.level]
        grid = grid_of(level, pyramid.height, pyramid.width)
        encoded = self._encode(level.map[..., : grid.rows, : grid.columns])
        cells = rearrange(encoded, "b c h w -> b (h w) c")
        turn = self._turn(cell_centres(grid, cells.device), grid)
        with torch.autocast(cells.device.type, enabled=False):  # in bf16 neighbouring cells would tie
            directions = F.normalize(cells.float() + self.decode_map(cells.float()), dim=-1)
        return MatchLevel(
            map=encoded,
            stride=level.stride,
            offset=level.offset,
            directions=directions,
            contexts=tuple(block.look_up(cells, turn) for block in self.query_blocks),
        )

    def _encode(self, cells: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        pooled = F.avg_pool2d(cells, self.pool, ceil_mode=True, count_include_pad=False)
        rows, columns = pooled.shape[-2:]
        before = rearrange(pooled, "b c h w -> b (h w) c")
        grid = Grid(rows=rows, columns=columns, stride=1.0, offset=0.0)
        turn = self._turn(cell_centres(grid, cells.device) * self.pool, grid)
        tokens = before
        for block in self.map_blocks:
            tokens = block(tokens, tokens, turn=turn)
        change = rearrange(tokens - before, "b (h w) c -> b c h w", h=rows)
        change = F.interpolate(change, scale_factor=self.pool, mode="bilinear", align_corners=False)
        return cells + change[..., : cells.shape[-2], : cells.shape[-1]]

    def forward(
        self,
        token: Float[Tensor, "B N C"],
        remembered: Float[Tensor, "B N M C"],
        usable: Bool[Tensor, "B N M"],
        xy: Float[Tensor, "B N 2"],
        target: MatchLevel,
    ) -> tuple[Float[Tensor, "B N classes"], Grid, Estimate]:
        """Class logits over the cells of ``target`` with the dustbin last, the grid, and the best match.

        ``token`` and ``remembered`` describe the points, ``usable`` says which memories count; ``xy`` (px),
        where each was last, only tells attention how far away a cell is.
        """
        grid = grid_of_map(target)
        query = self._ask(token, remembered, usable, self._turn(xy, grid), target)
        cells = self._score(query, target)
        with torch.autocast(query.device.type, enabled=False):
            estimate = self._estimate(query, cells[..., :-1], cells[..., -1], grid)
        return cells, grid, estimate

    def classify(
        self, token: Float[Tensor, "B N C"], xy: Float[Tensor, "B N 2"], target: MatchLevel
    ) -> Float[Tensor, "B N classes"]:
        """Only the class logits, and of points that have no memory."""
        nothing = token[:, :, None][:, :, :0]  # B N 0 C
        usable = torch.zeros(nothing.shape[:3], dtype=torch.bool, device=token.device)
        turn = self._turn(xy, grid_of_map(target))
        return self._score(self._ask(token, nothing, usable, turn, target), target)

    def _ask(
        self,
        token: Tensor,
        remembered: Tensor,
        usable: Tensor,
        turn: Place,
        target: MatchLevel,
    ) -> Float[Tensor, "B N C"]:
        """What each point looks for, after it has looked at its own past and at the frame."""
        query = self._recall(token, remembered, usable)
        for block, context in zip(self.query_blocks, target.contexts, strict=True):
            query = block.attend(query, context, turn=turn)
        return query.float()

    def _score(self, query: Float[Tensor, "B N C"], target: MatchLevel) -> Float[Tensor, "B N classes"]:
        """The logits of all cells, and of the dustbin."""
        with torch.autocast(query.device.type, enabled=False):  # in bf16 neighbouring cells would tie
            cosine = F.normalize(query + self.decode_query(query), dim=-1) @ target.directions.mT
            scores = cosine * self.temperature.exp().clamp(max=MAX_TEMPERATURE)
            # The dustbin competes with the mean cell, not with the sum: log(K) undoes the K of logsumexp.
            dustbin = self.dustbin(query) + self.dustbin_bias + log(target.directions.shape[1])
            return torch.cat([scores, dustbin], dim=-1)

    def _recall(
        self,
        token: Float[Tensor, "B N C"],
        remembered: Float[Tensor, "B N M C"],
        usable: Bool[Tensor, "B N M"],
    ) -> Float[Tensor, "B N C"]:
        """Let each query look at what it was itself, in its birth frame and since."""
        own = torch.cat([token[:, :, None], remembered.to(token.dtype)], dim=2)
        seen = F.pad(usable, (1, 0), value=True)
        recalled = self.memory_block(token.flatten(0, 1)[:, None], own.flatten(0, 1), seen.flatten(0, 1))
        return recalled[:, 0].unflatten(0, token.shape[:2])

    def _estimate(
        self,
        query: Float[Tensor, "B N C"],
        scores: Float[Tensor, "B N K"],
        dustbin: Float[Tensor, "B N"],
        grid: Grid,
    ) -> Estimate:
        """The best cell, its position refined by expectation over the cells around it (sub-cell)."""
        best = scores.argmax(-1)
        cell = torch.stack([best % grid.columns, best // grid.columns], dim=-1)  # B N 2, (column, row)
        around = cell[:, :, None] + patch_offsets(self.window, scores.device).long()  # B N P 2
        limit = around.new_tensor([grid.columns, grid.rows])
        inside = ((around >= 0) & (around < limit)).all(-1)
        column, row = torch.minimum(around.clamp(min=0), limit - 1).unbind(-1)
        near = scores.gather(-1, row * grid.columns + column).masked_fill(~inside, float("-inf"))
        weight = near.softmax(-1)
        xy = (weight[..., None] * (around * grid.stride + grid.offset)).sum(-2)
        total = scores.logsumexp(-1)
        evidence = torch.stack([scores.amax(-1) - total, total - dustbin, scores.amax(-1) - dustbin], dim=-1)
        content = F.layer_norm(query, query.shape[-1:])
        belief = self.belief(torch.cat([content, 0.2 * evidence.detach()], dim=-1))
        return Estimate(xy=xy, certainty=belief[..., 0], occlusion=belief[..., 1])

    def _turn(self, xy: Float[Tensor, "*B 2"], grid: Grid) -> Place:
        """What tells attention of places (px of the frame that ``grid`` lies in), counted in pooled cells."""
        cell = (xy - grid.offset) / grid.stride / self.pool
        dim = self.channels // self.heads if self.position == "rope" else self.channels
        return POSITIONS[self.position](cell, dim, LONGEST)


def grid_of_map(level: FeatureLevel) -> Grid:
    """All cells of a map."""
    rows, columns = level.map.shape[-2:]
    return Grid(rows=rows, columns=columns, stride=level.stride, offset=level.offset)
