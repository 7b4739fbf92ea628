"""Homographies from correspondences: the robust estimators of HPatches' protocols, and a plain linear one."""

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool, Float64

FEWEST = 4  # points that a homography needs
UNSCORED = np.finfo(np.float64).max  # PoseLib's score of no model at all
Points = Float64[np.ndarray, "M 2"]


class NoHomographyError(ValueError):
    """Correspondences that no homography was found for."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What an estimator found: x1 ~ matrix x0, in the coordinates that it was given."""

    matrix: Float64[np.ndarray, "3 3"]
    inliers: Bool[np.ndarray, " M"]


@runtime_checkable
class HomographySolver(Protocol):
    """An estimator with all its settings but the threshold."""

    name: str

    def __call__(self, points0: Points, points1: Points, threshold_px: float) -> Fit:
        """Raises NoHomographyError where it finds nothing."""

    def describe(self) -> Mapping[str, Any]:
        """All that its results depend on but the threshold; json."""


@dataclass(frozen=True, kw_only=True)
class OpenCVHomography:
    """cv2's RANSAC; the threshold is the distance in image 1."""

    confidence: float
    max_iterations: int

    name = "OpenCV RANSAC"

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1 or self.max_iterations < 1:
            raise ValueError(
                f"homography solver: expected a confidence between 0 and 1 and at least one iteration, "
                f"got {self}"
            )

    def describe(self) -> Mapping[str, Any]:
        return {"solver": self.name, "confidence": self.confidence, "max_iterations": self.max_iterations}

    def __call__(self, points0: Points, points1: Points, threshold_px: float) -> Fit:
        if len(points0) < FEWEST:
            raise NoHomographyError(f"{len(points0)} correspondences")
        try:
            matrix, mask = cv2.findHomography(
                points0,
                points1,
                cv2.RANSAC,
                threshold_px,
                maxIters=self.max_iterations,
                confidence=self.confidence,
            )
        except cv2.error as error:
            raise NoHomographyError(str(error).splitlines()[0]) from error
        if matrix is None:
            raise NoHomographyError("cv2 found none")
        return Fit(matrix=matrix, inliers=mask.ravel() > 0)


@dataclass(frozen=True, kw_only=True)
class PoseLibHomography:
    """LO-RANSAC of the package ``poselib``, with its own refinement.

    Raises ValueError if the package is missing.
    """

    options: Mapping[str, Any]  # of its RANSAC, beside the threshold; its defaults hold for the rest

    name = "PoseLib"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("poselib") is None:
            raise ValueError("this protocol solves with poselib, which is not installed: pip install poselib")

    def describe(self) -> Mapping[str, Any]:
        return {"solver": self.name, "options": dict(self.options)}

    def __call__(self, points0: Points, points1: Points, threshold_px: float) -> Fit:
        settings = {"max_reproj_error": threshold_px, **self.options}
        matrix, found = importlib.import_module("poselib").estimate_homography(points0, points1, settings)
        # Where no sample had a model (all points on a line), it refines whatever lay in memory, even the
        # truth of the pair before; then the score is still the one that it started with.
        if not found["num_inliers"] or found["model_score"] >= UNSCORED:
            raise NoHomographyError("poselib found no inlier")
        return Fit(matrix=matrix, inliers=np.array(found["inliers"], bool))


def direct_linear(
    points0: Points, points1: Points, weights: Float64[np.ndarray, " M"]
) -> Float64[np.ndarray, "3 3"]:
    """The weighted direct linear transform: least squares over all matches, wrong ones too.

    It is glue-factory's second estimator, which tells how trustworthy confidences are: kornia's, which did
    not weight the normalisation (its newest version does).
    Raises NoHomographyError for fewer than four matches with a weight, or where nothing finite fits them.
    """
    if np.count_nonzero(weights > 0) < FEWEST:
        raise NoHomographyError(f"{np.count_nonzero(weights > 0)} correspondences with a weight")
    centred0, centred1 = _centring(points0), _centring(points1)
    if not (np.isfinite(centred0).all() and np.isfinite(centred1).all()):
        raise NoHomographyError("all points of an image are one")
    xy0, xy1 = (xy * to[0, 0] + to[:2, 2] for xy, to in ((points0, centred0), (points1, centred1)))
    one = np.concatenate([xy0, np.ones((len(xy0), 1))], axis=1)  # M 3
    zero = np.zeros_like(one)
    rows_x = np.concatenate([one, zero, -xy1[:, :1] * one], axis=1)  # M 9: h1 p - x' h3 p = 0
    rows_y = np.concatenate([zero, one, -xy1[:, 1:] * one], axis=1)
    rows = np.concatenate([rows_x, rows_y]) * np.sqrt(np.tile(np.maximum(weights, 0), 2))[:, None]
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return np.linalg.inv(centred1) @ vectors[:, 0].reshape(3, 3) @ centred0


def _centring(points: Points) -> Float64[np.ndarray, "3 3"]:
    """Hartley's normalisation: the mean to the origin, the mean distance from it to the square root of 2."""
    mean = points.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt(2) / np.linalg.norm(points - mean, axis=1).mean()
        return np.array([[scale, 0, -scale * mean[0]], [0, scale, -scale * mean[1]], [0, 0, 1]])
