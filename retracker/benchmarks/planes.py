"""What all benchmarks of pairs of images of a plane share: homographies, and the share of right matches."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from retracker.benchmarks.homography_protocol import HomographyProtocol
from retracker.benchmarks.pair_answers import draw_matched, match_arrays
from retracker.benchmarks.protocol import Benchmark, Column, Curve, Matched, Matcher, Scores, Summary
from retracker.benchmarks.resizing import ask_resized
from retracker.metrics.matching import matching_accuracy, matching_score, transfer_errors
from retracker.metrics.pose import pose_auc
from retracker.types import TensorStruct

MMA_PX = tuple(range(1, 11))
SHOWN_MMA = (1, 3, 5)
SCORED_PX = (1, 3, 5)  # of the matching score
RIGHT_PX = 3.0  # what pictures call right
FAR_PX = 10.0  # where pairs are ranked, worse is as bad


@dataclass(frozen=True, kw_only=True)
class PlanePair(TensorStruct):
    """Two images of a plane at their stored size."""

    image0: UInt8[Tensor, "3 H0 W0"]  # RGB
    image1: UInt8[Tensor, "3 H1 W1"]
    homography: Float64[Tensor, "3 3"]  # from raster px of image 0 to raster px of image 1
    name: str


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A pair and its answer in raster px of the images as the matcher was shown them."""

    points: tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, "M 2"]]
    keypoints: tuple[Float64[np.ndarray, "K0 2"], Float64[np.ndarray, "K1 2"]] | None
    truth: Float64[Tensor, "3 3"]
    sizes: tuple[tuple[int, int], tuple[int, int]]  # height and width


class PlaneBenchmark(Benchmark[PlanePair, Matched], ABC):
    """Pairs under known homographies; a subclass lists and reads them. The rules are those of a protocol.

    The matching score is undefined for a method that has no keypoints of its own.
    """

    kind = "matcher"
    usual_baselines = ("sift",)
    ranked_by = "closeness"
    curves = (
        Curve(
            title="matches within (MMA)",
            thresholds=tuple(float(px) for px in MMA_PX),
            unit="px of the matched images",
            metrics=tuple(f"mma_{px}" for px in MMA_PX),
        ),
        Curve(
            title="homographies with a corner error within",
            thresholds=tuple(float(px) for px in MMA_PX),
            unit="px",
            metrics=tuple(f"corners_within_{px}" for px in MMA_PX),
        ),
    )

    def __init__(self, name: str, title: str, protocol: HomographyProtocol) -> None:
        self.name, self.rules = name, protocol
        self.title = f"{title} ({protocol.label})"
        self.protocol = {
            **protocol.describe(),
            "mma": "of all matches, in px of the matched images",
            "matching_score": "right matches by keypoints of the shared view, mean of both images",
        }
        exact = tuple(_area(px) for px in protocol.auc_px)
        linear = tuple(_area(px, "linear_", "DLT ") for px in protocol.auc_px) if protocol.linear else ()
        shares = tuple(Column(heading=f"MMA@{px}", metric=f"mma_{px}") for px in SHOWN_MMA)
        score = Column(heading="M.score@3", metric="matching_score_3")
        counts = tuple(Column(heading=word, metric=word, percent=False) for word in ("matches", "inliers"))
        self.columns = (*exact, *shares, score, *counts, *linear)
        self.headline = (*exact, *shares[1:2])

    def size(self, item: PlanePair) -> int:
        del item
        return 1

    def ask(self, method: Matcher, item: PlanePair) -> Matched:
        """Its correspondences, in px of the images as they are stored."""
        return ask_resized(method, item.image0, item.image1, self.rules.image, item.name)

    def score(self, item: PlanePair, answer: Matched) -> Scores:
        """The corner error in px, how close to none that is in [0, 1], and the shares of right matches."""
        shown = self._shown(item, answer)
        confidence = answer.confidence.double().numpy()
        errors = self.rules.corner_errors(shown.points, confidence, shown.truth, shown.sizes)
        truth = shown.truth.numpy()
        shares = matching_accuracy(transfer_errors(*shown.points, truth), MMA_PX)
        scores = [nan] * len(SCORED_PX)
        if shown.keypoints is not None:
            scores = matching_score(shown.points, shown.keypoints, truth, shown.sizes, SCORED_PX)
        return {
            **errors,
            "closeness": 1 - min(errors["corner_error"], FAR_PX) / FAR_PX,
            "matches": float(len(answer.points0)),
            **{f"mma_{px}": share for px, share in zip(MMA_PX, shares, strict=True)},
            **{f"matching_score_{px}": score for px, score in zip(SCORED_PX, scores, strict=True)},
        }

    def summarise(self, scores: Mapping[str, Scores]) -> Summary:
        """Areas over the corner errors of all pairs, and means."""
        if not scores:
            raise ValueError("no pair was evaluated, so there is no area")
        errors = [of_pair["corner_error"] for of_pair in scores.values()]
        means = ("matches", "inliers", "closeness", *(f"mma_{px}" for px in MMA_PX))
        ratios = [f"matching_score_{px}" for px in SCORED_PX]
        values = {
            **self._areas("", errors),
            **{metric: mean(of_pair[metric] for of_pair in scores.values()) for metric in means},
            **{metric: _mean_of_known(scores, metric) for metric in ratios},
            **{f"corners_within_{px}": float(np.mean(np.array(errors) <= px)) for px in MMA_PX},
            "median_corner_error": median(errors),
        }
        if self.rules.linear:
            linear = [of_pair["linear_corner_error"] for of_pair in scores.values()]
            values |= self._areas("linear_", linear)
        unknown = [name for name, of_pair in scores.items() if isnan(of_pair[ratios[0]])]
        return Summary(values=values, undefined=dict.fromkeys(ratios, unknown) if unknown else {})

    def arrays(self, item: PlanePair, answer: Matched) -> Mapping[str, np.ndarray]:
        """Matches (M,2) in px of the stored images, and their confidence."""
        return match_arrays(item, answer)

    def picture(self, item: PlanePair, answer: Matched, path: Path) -> Path:
        """A png with a line for each match: green where it is right, yellow at 3 px, red beyond."""
        shown = self._shown(item, answer)
        distances = transfer_errors(*shown.points, shown.truth.numpy())
        errors = torch.from_numpy(distances).nan_to_num(nan=torch.inf)
        right = RIGHT_PX / (RIGHT_PX + errors)
        return draw_matched(item, answer, right, path, legend="right")

    def _shown(self, item: PlanePair, answer: Matched) -> Shown:
        stored = [tuple(image.shape[-2:]) for image in (item.image0, item.image1)]
        shown = [self.rules.image.size(*size) for size in stored]
        scale0, scale1 = (
            torch.tensor([new[1] / old[1], new[0] / old[0], 1.0], dtype=torch.float64)
            for old, new in zip(stored, shown, strict=True)
        )

        def resized(xy0: Tensor, xy1: Tensor) -> tuple[np.ndarray, np.ndarray]:
            return (xy0.double() * scale0[:2]).numpy(), (xy1.double() * scale1[:2]).numpy()

        known = answer.keypoints0 is not None and answer.keypoints1 is not None
        return Shown(
            points=resized(answer.points0, answer.points1),
            keypoints=resized(answer.keypoints0, answer.keypoints1) if known else None,
            truth=scale1.diag() @ item.homography @ (1 / scale0).diag(),
            sizes=tuple(shown),
        )

    def _areas(self, prefix: str, errors: list[float]) -> dict[str, float]:
        areas = pose_auc(errors, self.rules.auc_px)
        return {_area(px, prefix).metric: area for px, area in zip(self.rules.auc_px, areas, strict=True)}


def _mean_of_known(scores: Mapping[str, Scores], metric: str) -> float:
    known = [of_pair[metric] for of_pair in scores.values() if not isnan(of_pair[metric])]
    return mean(known) if known else nan


def _area(px: int, prefix: str = "", word: str = "") -> Column:
    return Column(heading=f"{word}AUC@{px} px", metric=f"{prefix}exact_auc_{px}px")
