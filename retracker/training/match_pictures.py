# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What matching does, in TensorBoard: how far off matches are, who goes to the dustbin, and who is sure."""

import pytorch_lightning as pl
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.losses.anchors import anchor_grid
from retracker.losses.dense import follow, gone
from retracker.training.module import TrackingModule
from retracker.training.pictures import writer_of
from retracker.training.scores import tracked
from retracker.types import Prediction, Queries, VideoSample
from retracker.visualize.match_error import draw_match_errors
from retracker.visualize.point_maps import draw_point_maps


class MatchPictures(pl.Callback):
    """In each validation, draw the first and the last frame of the first ``num_clips`` clips.

    ``matches``: a line for each point that is there to be found, coloured by its error; at most
    ``max_lines``. ``dustbin`` and ``certainty``: maps of ``grid`` x ``grid`` points of the first frame.
    """

    def __init__(self, num_clips: int, grid: int, max_lines: int) -> None:
        if min(num_clips, grid, max_lines) < 1:
            raise ValueError(
                f"match pictures: num_clips, grid and max_lines must be at least 1, "
                f"got {num_clips}, {grid} and {max_lines}"
            )
        self.num_clips, self.grid, self.max_lines = num_clips, grid, max_lines

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: TrackingModule,
        outputs: dict[str, Prediction],
        batch: VideoSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        writer = writer_of(trainer)
        if writer is None or batch_idx >= self.num_clips:
            return
        pictures = {
            "matches": match_picture(outputs["prediction"], batch, self.max_lines),
            **map_pictures(pl_module, batch, self.grid),
        }
        for name, picture in pictures.items():
            writer.add_image(f"{name}/{batch_idx}", picture, trainer.global_step)


def match_picture(prediction: Prediction, truth: VideoSample, max_lines: int) -> UInt8[Tensor, "3 high wide"]:
    """The first clip's points that are seen in its first and in its last frame."""
    points = (tracked(truth)[0, -1] & (truth.queries.frame[0] == 0)).nonzero()[:, 0]
    return draw_match_errors(
        truth.video[0, 0],
        truth.video[0, -1],
        truth.queries.xy[0, points],
        prediction.tracks[0, -1, points].float(),
        truth.tracks[0, -1, points],
        max_lines=max_lines,
    )


def map_pictures(
    module: TrackingModule, truth: VideoSample, grid: int
) -> dict[str, UInt8[Tensor, "3 high wide"]]:
    """Maps of the first clip: the dustbin's probability beside the truth, if there is any, and confidence."""
    pair = truth.video[:1, [0, -1]]
    points = anchor_grid(truth, grid * grid)[:1]
    found = module.answer(pair, Queries(xy=points, frame=torch.zeros_like(points[..., 0]).long()))
    dustbin = found.frames[-1].cells[0].float().softmax(-1)[:, -1]
    maps = {"dustbin": dustbin}
    if truth.flow is not None:
        maps["truth: not in the other view"] = absent_map(truth, points)
    view = truth.video[0, 0]
    return {
        "dustbin": draw_point_maps(view, {name: squared(values, grid) for name, values in maps.items()}),
        "certainty": draw_point_maps(view, {"confidence": squared(found.confidence[0, -1], grid)}),
    }


def absent_map(truth: VideoSample, points: Float[Tensor, "1 N 2"]) -> Float[Tensor, " N"]:
    """1 for points of the first clip known to be absent from its last frame, 0 for seen ones, else NaN."""
    flow = truth.flow.map(lambda x: x[:1])
    last = flow.valid.shape[1] - 1
    seen, absent = follow(flow, points, last)[1][0], gone(flow, points, last)[0]
    return torch.where(seen | absent, absent.float(), torch.nan)


def squared(values: Float[Tensor, " N"], side: int) -> Float[Tensor, "side side"]:
    """What belongs to points row by row, as a map."""
    return values.unflatten(0, (side, side))
