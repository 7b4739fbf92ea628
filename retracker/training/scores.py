"""How good a prediction is, clip by clip, and the mean over the clips of all ranks."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from retracker.metrics.pck import end_point_error, pck
from retracker.metrics.tapvid import compute_tapvid_metrics
from retracker.types import Prediction, VideoSample

PCK_PIXELS = (1, 3, 5)
TAPVID_SIZE = 256.0  # px: the protocol's frame is 256 x 256, whatever the aspect was
TAPVID_NAMES = {"delta_avg": "average_pts_within_thresh", "AJ": "average_jaccard", "OA": "occlusion_accuracy"}
VALIDATION_SCORES = (*(f"PCK@{k}" for k in PCK_PIXELS), "EPE", *TAPVID_NAMES, "loss")


def tracked(truth: VideoSample) -> Bool[Tensor, "B T N"]:
    """Points that are there to be found: visible, and asked for in an earlier frame."""
    frame = torch.arange(truth.visible.shape[1], device=truth.visible.device)[None, :, None]
    return truth.visible & truth.located & (frame > truth.queries.frame[:, None])


def pck_scores(prediction: Prediction, truth: VideoSample) -> dict[str, Tensor]:
    """PCK and end-point error (px of this video) of each clip (B); NaN where a clip has nothing to find."""
    counted = tracked(truth)
    scores = {f"PCK@{k}": pck(prediction.tracks, truth.tracks, counted, float(k)) for k in PCK_PIXELS}
    return scores | {"EPE": end_point_error(prediction.tracks, truth.tracks, counted)}


def known(truth: VideoSample) -> Bool[Tensor, "B N"]:
    """Points that can be scored: after their query, all that a metric asks is known in every frame."""
    frame = torch.arange(truth.visible.shape[1], device=truth.visible.device)[None, :, None]
    told = truth.labelled & (truth.located | ~truth.visible)
    return (told | (frame <= truth.queries.frame[:, None])).all(1) & truth.labelled.any(1)


def tapvid_scores(prediction: Prediction, truth: VideoSample) -> dict[str, Tensor]:
    """delta_avg, AJ and OA of each clip (B) in TAP-Vid's "first" mode; NaN where nothing is to be found.

    TAP-Vid knows everything of its points: those of which something is not known are left out.
    """
    scored = known(truth).cpu()
    clips = [tapvid_scores_of_clip(prediction, truth, clip, points) for clip, points in enumerate(scored)]
    return {
        name: torch.tensor([scores[official] for scores in clips]) for name, official in TAPVID_NAMES.items()
    }


def tapvid_scores_of_clip(
    prediction: Prediction, truth: VideoSample, clip: int, points: Bool[Tensor, " N"]
) -> dict[str, float]:
    """The scores of some points of one clip, by their official names."""
    height, width = truth.video.shape[-2:]
    ratio = torch.tensor([TAPVID_SIZE / width, TAPVID_SIZE / height], dtype=torch.float64)

    def by_point(x: Tensor) -> np.ndarray:
        return x[clip].detach().cpu()[:, points].transpose(0, 1).numpy()[None]  # B T N -> 1 N T

    def scaled(xy: Tensor) -> Tensor:
        return xy.detach().cpu().double() * ratio

    frame, xy = truth.queries.frame[clip].cpu()[points], scaled(truth.queries.xy[clip])[points]
    metrics = compute_tapvid_metrics(
        torch.cat([frame[:, None], xy.flip(-1)], dim=-1).numpy()[None],
        by_point(~truth.visible),
        by_point(scaled(truth.tracks)),
        by_point(~prediction.visible),
        by_point(scaled(prediction.tracks)),
        "first",
    )
    return {name: float(value[0]) for name, value in metrics.items()}


class ScoreSheet:
    """Gather the named scores of clips; their mean is over all clips of all ranks that have the score."""

    def __init__(self, names: Sequence[str]) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in names}

    def add(self, scores: Mapping[str, Tensor]) -> None:
        """Note the scores of a batch of clips: one value per clip, or one for all of them."""
        for name, value in scores.items():
            self.values[name] += value.detach().flatten().tolist()

    def means(self, total: Callable[[Tensor], Tensor], device: torch.device) -> dict[str, Tensor]:
        """The mean of each score; ``<name>/skipped`` counts clips without it.

        ``total`` sums over ranks. It is called once, for all names: also on a rank that has seen no clip.
        """
        local = [tally(values) for values in self.values.values()]
        means = {}
        for name, (summed, num, num_all) in zip(
            self.values, total(torch.tensor(local, device=device)), strict=True
        ):
            if num > 0:
                means[name] = summed / num
            if num < num_all:
                means[f"{name}/skipped"] = num_all - num
        return means


def tally(values: Sequence[float]) -> tuple[float, float, float]:
    """Sum and number of the finite values, and how many there are in all."""
    finite = [value for value in values if isfinite(value)]
    return sum(finite, start=0.0), float(len(finite)), float(len(values))
