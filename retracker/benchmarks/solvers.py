"""Relative pose from correspondences: the robust estimators that two-view benchmarks are measured with."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float64

from retracker.metrics.epipolar import normalised

FEWEST = 5  # points that an essential matrix needs
METHODS = MappingProxyType({"RANSAC": cv2.RANSAC, "USAC_MAGSAC": cv2.USAC_MAGSAC})
Points = Float64[np.ndarray, "M 2"]
Intrinsics = Float64[np.ndarray, "3 3"]


class NoPoseError(ValueError):
    """Correspondences that no pose was found for: they count as a failure."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What an estimator found: x1 = R x0 + t in camera frames, t up to its length."""

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, "3"]
    inliers: Bool[np.ndarray, " M"]


@runtime_checkable
class Solver(Protocol):
    """An estimator; one threshold is given in px and means what the estimator's own protocol says."""

    name: str

    def __call__(
        self, points0: Points, points1: Points, cameras: tuple[Intrinsics, Intrinsics], threshold_px: float
    ) -> Solution:
        """Raises NoPoseError where it finds nothing."""

    def describe(self) -> Mapping[str, Any]:
        """All that its results depend on but the threshold; json."""


def mean_focal(camera0: Intrinsics, camera1: Intrinsics) -> float:
    """The mean of all four focal lengths (RoMa, DKM, glue-factory)."""
    return float(np.mean([camera0[0, 0], camera0[1, 1], camera1[0, 0], camera1[1, 1]]))


def first_x_second_y(camera0: Intrinsics, camera1: Intrinsics) -> float:
    """SuperGlue's and LoFTR's: their code takes fx of view 0 and fy of view 1, each twice, and no other."""
    return float(np.mean([camera0[0, 0], camera1[1, 1], camera0[0, 0], camera1[1, 1]]))


FOCALS = MappingProxyType({"mean_focal": mean_focal, "first_x_second_y": first_x_second_y})


@dataclass(frozen=True, kw_only=True)
class OpenCV:
    """cv2's five-point RANSAC on normalised points; of its poses, the one with most inliers in front."""

    method: str  # a name of METHODS
    focal: str  # a name of FOCALS: what a threshold in px is divided by
    confidence: float

    def __post_init__(self) -> None:
        if self.method not in METHODS or self.focal not in FOCALS or not 0 < self.confidence < 1:
            raise ValueError(
                f"solver: expected method {' or '.join(METHODS)}, focal {' or '.join(FOCALS)} and a "
                f"confidence between 0 and 1, got {self}"
            )

    @property
    def name(self) -> str:
        return f"OpenCV {self.method}"

    def describe(self) -> Mapping[str, Any]:
        return {"solver": self.name, "confidence": self.confidence, "threshold_divided_by": self.focal}

    def __call__(
        self, points0: Points, points1: Points, cameras: tuple[Intrinsics, Intrinsics], threshold_px: float
    ) -> Solution:
        if len(points0) < FEWEST:
            raise NoPoseError(f"{len(points0)} correspondences")
        xy0, xy1 = normalised(points0, cameras[0]), normalised(points1, cameras[1])
        threshold = threshold_px / FOCALS[self.focal](*cameras)
        try:
            essentials, mask = cv2.findEssentialMat(
                xy0, xy1, np.eye(3), method=METHODS[self.method], prob=self.confidence, threshold=threshold
            )
            return best_pose(essentials, mask, xy0, xy1)
        except cv2.error as error:
            raise NoPoseError(str(error).splitlines()[0]) from error


def best_pose(essentials: np.ndarray | None, mask: np.ndarray, xy0: Points, xy1: Points) -> Solution:
    """The pose with the most inliers over every 3 x 3 block: five points alone have up to ten solutions.

    recoverPose narrows the mask that it is given, from block to block; so does the official code.
    """
    best, most = None, 0
    for start in range(0, 0 if essentials is None else len(essentials), 3):
        block = essentials[start : start + 3]
        # The official codes write 1e9 behind the camera, for how far points may lie; but cv2 takes it for the
        # array to put R in, or it would return five values. So points beyond 50 baselines do not count.
        count, rotation, translation, _ = cv2.recoverPose(block, xy0, xy1, np.eye(3), mask=mask)
        if count > most:
            most = count
            best = Solution(rotation=rotation, translation=translation[:, 0], inliers=mask.ravel() > 0)
    if best is None:
        raise NoPoseError("no essential matrix with a point in front of both cameras")
    return _finite(best)


@dataclass(frozen=True, kw_only=True)
class PoseLib:
    """LO-RANSAC of the package ``poselib``, with its own refinement; the threshold is in px of both images.

    Raises ValueError if the package is missing.
    """

    options: Mapping[str, Any]  # of its RANSAC, beside the threshold; its defaults hold for the rest

    def __post_init__(self) -> None:
        if importlib.util.find_spec("poselib") is None:
            raise ValueError("this protocol solves with poselib, which is not installed: pip install poselib")

    @property
    def name(self) -> str:
        return "PoseLib"

    def describe(self) -> Mapping[str, Any]:
        return {"solver": self.name, "options": dict(self.options)}

    def __call__(
        self, points0: Points, points1: Points, cameras: tuple[Intrinsics, Intrinsics], threshold_px: float
    ) -> Solution:
        if len(points0) < FEWEST:
            raise NoPoseError(f"{len(points0)} correspondences")
        settings = {"max_epipolar_error": threshold_px, **self.options}
        pose, found = importlib.import_module("poselib").estimate_relative_pose(
            points0, points1, _camera(cameras[0]), _camera(cameras[1]), settings
        )
        if pose is None or not found["num_inliers"] or not np.any(pose.t):
            raise NoPoseError("poselib found no inlier")
        inliers = np.array(found["inliers"], bool)
        return _finite(Solution(rotation=pose.R, translation=pose.t, inliers=inliers))


def _camera(intrinsics: Intrinsics) -> dict[str, Any]:
    numbers = [intrinsics[0, 0], intrinsics[1, 1], intrinsics[0, 2], intrinsics[1, 2]]
    return {"model": "PINHOLE", "width": -1, "height": -1, "params": numbers}  # a pinhole needs no size


def _finite(solution: Solution) -> Solution:
    if not (np.isfinite(solution.rotation).all() and np.isfinite(solution.translation).all()):
        raise NoPoseError("a pose that is not finite")
    return solution
