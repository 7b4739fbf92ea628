"""What all benchmarks of relative pose share: how a matcher is asked, its pose solved for, and scored."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch import Tensor

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.pair_answers import draw_matched, match_arrays
from retracker.benchmarks.pose_protocol import PoseProtocol, Solvable, error_key
from retracker.benchmarks.protocol import Benchmark, Column, Curve, Matched, Matcher, Scores, Summary
from retracker.benchmarks.resizing import ask_resized
from retracker.benchmarks.solvers import NoPoseError
from retracker.metrics.epipolar import precision
from retracker.metrics.pose import (
    approximate_pose_auc,
    pose_auc,
    rotation_error,
    share_below,
    translation_error,
)
from retracker.types import TensorStruct

DEGREES = (5, 10, 20)
CURVE_DEGREES = tuple(range(1, 21))
ROUNDING = 1e-2  # of a rotation's determinant: some files have few digits
CENTRE = (0.2, 0.8)  # of an image's sides: where its principal point must lie, or it is another image's
WORST = 180.0  # degrees: a failure, where numbers must be compared

EXACT = tuple(Column(heading=f"AUC@{degrees}", metric=f"exact_auc_{degrees}") for degrees in DEGREES)
APPROXIMATE = tuple(
    Column(heading=f"approx@{degrees}", metric=f"approximate_auc_{degrees}") for degrees in DEGREES
)


@dataclass(frozen=True, kw_only=True)
class PosedPair(TensorStruct):
    """Two views and the motion of the camera between them, each image upright and at its stored size."""

    image0: UInt8[Tensor, "3 H0 W0"]  # RGB
    image1: UInt8[Tensor, "3 H1 W1"]
    intrinsics0: Float64[Tensor, "3 3"]  # to raster px of image0
    intrinsics1: Float64[Tensor, "3 3"]
    file_camera0: FileCamera
    file_camera1: FileCamera
    pose_0to1: Float64[Tensor, "4 4"]  # from the camera frame of view 0 to that of view 1; length unknown
    name: str


@dataclass(frozen=True, kw_only=True)
class Error:
    """How far one solution is off, in degrees."""

    rotation: float
    translation: float
    inliers: int
    solved: bool

    @property
    def pose(self) -> float:
        return max(self.rotation, self.translation)


class PoseBenchmark(Benchmark[PosedPair, Matched], ABC):
    """Posed pairs; a subclass lists and reads them. The rules are those of a preset (``protocol=``)."""

    kind = "matcher"
    usual_baselines = ("sift",)
    place: ClassVar[str] = "outdoor"  # or "indoor": which of the preset's conditions hold
    columns = (
        *EXACT,
        Column(heading="precision", metric="epipolar_precision"),
        Column(heading="matches", metric="matches", percent=False),
        Column(heading="inliers", metric="inliers", percent=False),
        *APPROXIMATE,
    )
    headline = EXACT
    curves = (
        Curve(
            title="pairs with a pose error below",
            thresholds=tuple(float(degrees) for degrees in CURVE_DEGREES),
            unit="degrees",
            metrics=tuple(f"share_below_{degrees}" for degrees in CURVE_DEGREES),
        ),
    )
    ranked_by = "closeness"

    def __init__(self, name: str, title: str, protocol: PoseProtocol) -> None:
        self.name = name
        self.title = f"{title} ({protocol.label})"
        self.rules = protocol
        self.conditions = protocol.conditions(self.place)
        self.protocol = protocol.describe(self.place)

    def count_pairs(self, found: int, whole: int) -> None:
        """Say how many pairs there are, where tables show it if it is not the whole benchmark."""
        self.protocol["pairs"] = found
        if found != whole:
            self.title += f" ({found} of {whole} pairs)"

    def size(self, item: PosedPair) -> int:
        del item
        return 1

    def ask(self, method: Matcher, item: PosedPair) -> Matched:
        """Its correspondences, in px of the images as they are stored."""
        return ask_resized(method, item.image0, item.image1, self.conditions.image, item.name)

    def score(self, item: PosedPair, answer: Matched) -> Scores:
        """Pose errors in degrees of each run and threshold, and of all of them the median."""
        errors = self._errors(item, answer)
        distances, allowed = self._distances(item, answer), self.conditions.epipolar_threshold
        pose_error = median(error.pose for error in errors.values())
        return {
            "pose_error": pose_error,
            "rotation_error": median(error.rotation for error in errors.values()),
            "translation_error": median(error.translation for error in errors.values()),
            "closeness": -min(pose_error, WORST),
            "solved": float(np.mean([error.solved for error in errors.values()])),
            "matches": float(len(answer.points0)),
            "inliers": float(np.mean([error.inliers for error in errors.values()])),
            "epipolar_precision": precision(distances, allowed),
            **{key: error.pose for key, error in errors.items()},
        }

    def summarise(self, scores: Mapping[str, Scores]) -> Summary:
        """Areas over the errors of all pairs and runs, pooled; of several thresholds the best one's."""
        if not scores:
            raise ValueError("no pair was evaluated, so there is no area")
        threshold = max(self.rules.thresholds_px, key=lambda px: sum(pose_auc(self._pooled(scores, px))))
        errors = self._pooled(scores, threshold)
        means = ("solved", "matches", "inliers", "epipolar_precision")
        values = {
            **_by_degrees("exact_auc", pose_auc(errors, DEGREES)),
            **_by_degrees("approximate_auc", approximate_pose_auc(errors, DEGREES)),
            **{f"share_below_{degrees}": share_below(errors, degrees) for degrees in CURVE_DEGREES},
            **{metric: float(np.mean([of_pair[metric] for of_pair in scores.values()])) for metric in means},
            "median_pose_error": median(of_pair["pose_error"] for of_pair in scores.values()),
            "threshold_px": float(threshold),
        }
        return Summary(values=values, undefined={})

    def arrays(self, item: PosedPair, answer: Matched) -> Mapping[str, np.ndarray]:
        """Matches (M,2) in px of the stored images, and their confidence."""
        return match_arrays(item, answer)

    def picture(self, item: PosedPair, answer: Matched, path: Path) -> Path:
        """A png with a line for each match: green on the true epipolar line, yellow as far off as precision
        allows, red beyond."""
        allowed = self.conditions.epipolar_threshold
        distances = torch.from_numpy(self._distances(item, answer)).nan_to_num(nan=torch.inf)
        right = allowed / (allowed + distances)
        return draw_matched(item, answer, right, path, legend="on the epipolar line")

    def _pooled(self, scores: Mapping[str, Scores], threshold_px: float | int) -> list[float]:
        keys = [error_key(threshold_px, run) for run in range(self.rules.runs)]
        return [of_pair[key] for of_pair in scores.values() for key in keys]

    def _distances(self, item: PosedPair, answer: Matched) -> Float64[np.ndarray, " M"]:
        (points0, camera0), (points1, camera1) = self._solvable(item, answer)
        return self.rules.distances(points0, points1, (camera0, camera1), item.pose_0to1.numpy())

    def _errors(self, item: PosedPair, answer: Matched) -> dict[str, Error]:
        """By the key of each run at each threshold."""
        views = self._solvable(item, answer)
        return {
            error_key(threshold, run): self._error(item, views, chosen, threshold)
            for run, chosen in enumerate(self.rules.selections(len(answer.points0)))
            for threshold in self.rules.thresholds_px
        }

    def _solvable(self, item: PosedPair, answer: Matched) -> tuple[Solvable, Solvable]:
        """Points and camera of both views, as the solver is given them."""
        sides = (
            (answer.points0.double(), item.intrinsics0, item.file_camera0, tuple(item.image0.shape[-2:])),
            (answer.points1.double(), item.intrinsics1, item.file_camera1, tuple(item.image1.shape[-2:])),
        )
        view0, view1 = (self.rules.solvable(self.place, *side) for side in sides)
        return view0, view1

    def _error(
        self, item: PosedPair, views: tuple[Solvable, Solvable], chosen: np.ndarray, threshold: float | int
    ) -> Error:
        (points0, camera0), (points1, camera1) = views
        try:
            found = self.rules.solver(points0[chosen], points1[chosen], (camera0, camera1), threshold)
        except NoPoseError:
            failed = float(self.rules.failure_deg)
            return Error(rotation=failed, translation=failed, inliers=0, solved=False)
        true = item.pose_0to1.numpy()
        return Error(
            rotation=rotation_error(found.rotation, true[:3, :3]),
            translation=translation_error(found.translation, true[:3, 3]),
            inliers=int(found.inliers.sum()),
            solved=True,
        )


def motion_between(
    pose0: Float64[np.ndarray, "4 4"], pose1: Float64[np.ndarray, "4 4"], where: str
) -> Float64[Tensor, "4 4"]:
    """From view 0 to view 1 by poses world -> camera, by a general inverse as official codes do.

    Raises ValueError, saying ``where``, for a pose that is not rigid.
    """
    for pose in (pose0, pose1):
        if not np.isfinite(pose).all() or abs(np.linalg.det(pose) - 1) > ROUNDING:
            raise ValueError(f"{where}: expected a rigid pose, 4 x 4, got {pose.tolist()}")
    return torch.from_numpy(pose1 @ np.linalg.inv(pose0))


def checked_pair(pair: PosedPair, where: str) -> PosedPair:
    """The pair itself.

    Raises ValueError, saying ``where``, if its cameras are not those of its images, its pose makes no sense,
    or it has no baseline.
    """
    for camera, image in ((pair.intrinsics0, pair.image0), (pair.intrinsics1, pair.image1)):
        check_camera(camera, (image.shape[-2], image.shape[-1]), where)
    if not pair.pose_0to1.isfinite().all() or abs(pair.pose_0to1[:3, :3].det() - 1) > ROUNDING:
        raise ValueError(f"{where}: expected a rigid pose, 4 x 4, got {pair.pose_0to1.tolist()}")
    if not pair.pose_0to1[:3, 3].any():
        raise ValueError(f"{where}: both views are taken from one place: there is no direction to find")
    return pair


def check_camera(intrinsics: Float64[Tensor, "3 3"], size: tuple[int, int], where: str) -> None:
    """Raise ValueError, saying ``where``, for intrinsics that make no sense for an image (height, width)."""
    if not (intrinsics.isfinite().all() and (intrinsics.diagonal() > 0).all()):
        raise ValueError(f"{where}: expected a camera [f 0 c; 0 f c; 0 0 1], got {intrinsics.tolist()}")
    (x, y), (height, width) = intrinsics[:2, 2].tolist(), size
    if not (CENTRE[0] < x / width < CENTRE[1] and CENTRE[0] < y / height < CENTRE[1]):
        raise ValueError(
            f"{where}: the camera's centre ({x:g}, {y:g}) is no centre of {width} x {height} px; "
            f"expected the image at its original size"
        )


def _by_degrees(metric: str, areas: list[float]) -> dict[str, float]:
    return {f"{metric}_{degrees}": area for degrees, area in zip(DEGREES, areas, strict=True)}
