"""Validation on films whose labels are trackers' own: how close the net comes to what they agreed on."""

from collections.abc import Mapping, Sequence
from math import isfinite

import pytorch_lightning as pl
import torch
from torch.utils.data import Dataset

from retracker.training.module import TrackingModule
from retracker.training.pose_validation import gathered
from retracker.training.scores import pck_scores
from retracker.types import VideoSample, stack


class HeldOutLabels(pl.Callback):
    """After each validation, log ``val/films_<name>``: PCK and end-point error of the averaged weights.

    Of located places only; processes share the clips. ``trainer.limit_val_batches`` limits them, too.
    """

    def __init__(self, clips: Dataset[VideoSample]) -> None:
        self.clips = clips

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: TrackingModule) -> None:
        limit, total = trainer.limit_val_batches, len(self.clips)
        num = min(limit, total) if isinstance(limit, int) else max(1, round(limit * total))
        own = range(trainer.global_rank, num, trainer.world_size)
        scores = {index: self._scores(pl_module, index) for index in own}
        means = mean_scores(list(gathered(scores, trainer.world_size).values()))
        pl_module.log_dict({f"val/films_{name}": value for name, value in means.items()})

    @torch.no_grad()
    def _scores(self, module: TrackingModule, index: int) -> dict[str, float]:
        batch = stack([self.clips[index]]).to(module.device)
        prediction = module.answer(batch.video, batch.queries)
        return {name: float(value) for name, value in pck_scores(prediction, batch).items()}


def mean_scores(clips: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each score over the clips that have it; a score that none has is left out."""
    names = clips[0] if clips else ()
    found = {name: [clip[name] for clip in clips if isfinite(clip[name])] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items() if values}
