# ruff: noqa: ARG002 - Lightning fixes the signatures of its hooks
"""What the tracker sees, in TensorBoard: tracks beside the truth, and where coarse matching looks."""

import pytorch_lightning as pl
import torch
from torch.utils.tensorboard.summary import Summary
from torch.utils.tensorboard.writer import SummaryWriter

from retracker.types import Prediction, VideoSample
from retracker.visualize.animation import animate
from retracker.visualize.heat_map import draw_heat_map
from retracker.visualize.side_by_side import draw_side_by_side

FPS = 8.0  # slow enough to compare both halves


class Pictures(pl.Callback):
    """In each validation, draw the first ``num_clips`` clips: a video and ``num_points`` heat maps each.

    A pair has no video.
    """

    def __init__(self, num_clips: int, num_points: int) -> None:
        self.num_clips, self.num_points = num_clips, num_points

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: dict[str, Prediction],
        batch: VideoSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        writer = writer_of(trainer)
        if writer is None or batch_idx >= self.num_clips:
            return
        clip, prediction = batch.to("cpu"), outputs["prediction"].detach().to("cpu")
        if clip.video.shape[1] > 2:
            add_animation(writer, f"tracks/{batch_idx}", tracks_video(prediction, clip), trainer.global_step)
        for point in range(min(self.num_points, clip.tracks.shape[2])):
            tag = f"coarse/{batch_idx}/point{point}"
            writer.add_image(tag, heat_map(prediction, clip, point), trainer.global_step)


def writer_of(trainer: pl.Trainer) -> SummaryWriter | None:
    """Where this process draws: nowhere without TensorBoard, and on rank 0 only."""
    writer = getattr(trainer.logger, "experiment", None)
    return writer if isinstance(writer, SummaryWriter) and trainer.is_global_zero else None


def tracks_video(prediction: Prediction, truth: VideoSample) -> torch.Tensor:
    """The first clip of a batch twice: predicted tracks on the left, true ones on the right (T 3 H W')."""
    return draw_side_by_side(
        truth.video[0], prediction.tracks[0], prediction.visible[0], truth.tracks[0], truth.visible[0]
    )


def heat_map(prediction: Prediction, truth: VideoSample, point: int) -> torch.Tensor:
    """Where coarse matching looks for one point of the first clip, in the clip's last frame (3 H' W')."""
    frame = prediction.frames[-1]
    logits = frame.cells[0, point].float()
    return draw_heat_map(
        truth.video[0, -1],
        logits[:-1],
        frame.grid,
        float(logits.softmax(-1)[-1]),
        frame.xy[0, point],
        truth.tracks[0, -1, point],
    )


def add_animation(writer: SummaryWriter, tag: str, video: torch.Tensor, step: int) -> None:
    """Log a video as an animated picture; ``SummaryWriter.add_video`` would need a package for it."""
    height, width = video.shape[-2:]
    picture = Summary.Image(
        height=height, width=width, colorspace=3, encoded_image_string=animate(video, FPS)
    )
    writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=tag, image=picture)]), step)
