"""How good a prediction is, clip by clip, and the mean over the clips of all ranks."""

from collections import defaultdict
from collections.abc import Callable
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


def tracked(truth: VideoSample) -> Bool[Tensor, "B T N"]:
    """Points that are there to be found: visible, and asked for in an earlier frame."""
    frame = torch.arange(truth.visible.shape[1], device=truth.visible.device)[None, :, None]
    return truth.visible & truth.located & (frame > truth.queries.frame[:, None])


def pck_scores(prediction: Prediction, truth: VideoSample) -> dict[str, Tensor]:
    """PCK and end-point error (px of this video) of each clip (B); NaN where a clip has nothing to find."""
    counted = tracked(truth)
    scores = {f"PCK@{k}": pck(prediction.tracks, truth.tracks, counted, float(k)) for k in PCK_PIXELS}
    return scores | {"EPE": end_point_error(prediction.tracks, truth.tracks, counted)}


def tapvid_scores(prediction: Prediction, truth: VideoSample) -> dict[str, Tensor]:
    """delta_avg, AJ and OA of each clip (B) in TAP-Vid's "first" mode; NaN where nothing is to be found."""
    height, width = truth.video.shape[-2:]
    ratio = torch.tensor([TAPVID_SIZE / width, TAPVID_SIZE / height], dtype=torch.float64)

    def by_point(x: Tensor) -> np.ndarray:
        return x.detach().cpu().transpose(1, 2).numpy()  # B T N -> B N T

    xy = truth.queries.xy.cpu() * ratio
    metrics = compute_tapvid_metrics(
        torch.cat([truth.queries.frame.cpu()[..., None], xy.flip(-1)], dim=-1).numpy(),
        by_point(~truth.visible),
        by_point(truth.tracks.double().cpu() * ratio),
        by_point(~prediction.visible),
        by_point(prediction.tracks.double().cpu() * ratio),
        "first",
    )
    return {name: torch.from_numpy(metrics[official]) for name, official in TAPVID_NAMES.items()}


class ScoreSheet:
    """Gather scores of clips; their mean is over all clips of all ranks that have the score at all."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = defaultdict(list)

    def add(self, scores: dict[str, Tensor]) -> None:
        """Note the scores of a batch of clips: one value per clip, or one for all of them."""
        for name, value in scores.items():
            self.values[name] += value.detach().flatten().tolist()

    def means(self, total: Callable[[Tensor], Tensor], device: torch.device) -> dict[str, Tensor]:
        """The mean of each score (``total`` sums over ranks); ``<name>/skipped`` counts clips without it."""
        means = {}
        for name in sorted(self.values):
            values = self.values[name]
            finite = [value for value in values if isfinite(value)]
            local = torch.tensor([sum(finite), len(finite), len(values)], dtype=torch.float32, device=device)
            summed, num, num_all = total(local)
            if num > 0:
                means[name] = summed / num
            if num < num_all:
                means[f"{name}/skipped"] = num_all - num
        return means
