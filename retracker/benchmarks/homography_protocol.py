"""How homographies between images of a plane are measured: sizes, estimator, corners, thresholds, by preset.

What homographies and the points for the estimator count is the preset's ``official_points``:

    indices  the centre of the corner pixel is (0, 0), corners are the corner pixels, up to (width - 1,
             height - 1): D2-Net, RoMa, and those who reproduced LoFTR's numbers
    raster   the corner of the corner pixel is (0, 0), corners are those of the frame, up to (width, height):
             glue-factory, which so reads the files half a pixel away from all others

The first is right: on OpenCV's graffiti pair, whose homography is one of HPatches' forerunners, SIFT agrees
with it within 1 px 351 times, and 314 times if it is read as the second.

Everything else here is in raster pixels, as everywhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from retracker.benchmarks.homography_solvers import (
    HomographySolver,
    NoHomographyError,
    Points,
    direct_linear,
)
from retracker.benchmarks.resizing import Resize
from retracker.geometry.homography import for_indices, from_indices
from retracker.metrics.homography import corners_of, mean_corner_error

SEED = 0  # of samples, anew for each pair
ORIGINS = MappingProxyType({"indices": 0.5, "raster": 0.0})  # where (0, 0) lies, in raster px
CHOICES = ("surest", "random")
FAILURES = MappingProxyType({"infinite": np.zeros((3, 3)), "origin": np.diag([0.0, 0.0, 1.0])})
Matrix = Float64[np.ndarray, "3 3"]


@dataclass(frozen=True, kw_only=True)
class HomographyProtocol:
    """One preset, to the last detail."""

    name: str
    image: Resize  # what the matcher is shown; its px are those of all errors, unless unit_side is given
    official_points: str  # "indices" or "raster": see above
    max_matches: int | None  # that the estimator is given
    choice: str  # "surest" or "random": which of more than those
    solver: HomographySolver
    threshold_px: float
    unit_side: int | None  # threshold and corner errors are px of image 1 as if this were its short side
    failure: str  # a pair without homography is "infinite"ly wrong, or has all corners at the "origin" (RoMa)
    auc_px: Sequence[int]
    linear: bool  # also score the weighted linear fit to all matches (glue-factory)

    def __post_init__(self) -> None:
        known = self.official_points in ORIGINS and self.choice in CHOICES and self.failure in FAILURES
        sides = [number for number in (self.max_matches, self.unit_side) if number is not None]
        positive = all(number > 0 for number in (self.threshold_px, *self.auc_px, *sides))
        if not known or not positive or not self.auc_px:
            raise ValueError(
                f"protocol {self.name}: official_points is {' or '.join(ORIGINS)}, choice "
                f"{' or '.join(CHOICES)}, failure {' or '.join(FAILURES)}, px and counts are positive; "
                f"got {self}"
            )

    @property
    def label(self) -> str:
        """Preset, solver and threshold: without them a number means nothing."""
        return f"{self.name}: {self.solver.name}, {self.threshold_px:g} px"

    def describe(self) -> dict[str, Any]:
        """All that the meaning of the numbers depends on; json."""
        unit = (
            f"image 1, its short side taken for {self.unit_side}" if self.unit_side else "image 1 as matched"
        )
        return {
            "preset": self.name,
            **self.solver.describe(),
            "threshold_px": self.threshold_px,
            "px_of": unit,
            "matched_image": self.image.describe(),
            "official_points": self.official_points,
            "max_matches": self.max_matches,
            "choice": self.choice,
            "failure": self.failure,
            "auc_px": list(self.auc_px),
            "linear": self.linear,
        }

    def truth(self, matrix: Float64[Tensor, "3 3"]) -> Float64[Tensor, "3 3"]:
        """The homography of a file in raster px."""
        return from_indices(matrix) if self.official_points == "indices" else matrix

    def corner_errors(
        self,
        points: tuple[Points, Points],
        confidence: Float64[np.ndarray, " M"],
        truth: Float64[Tensor, "3 3"],
        sizes: tuple[tuple[int, int], tuple[int, int]],
    ) -> Mapping[str, float]:
        """The mean corner error in px, and the number of inliers, of a pair as it was shown to the matcher.

        ``points`` and ``truth`` are in raster px of those images, whose (height, width) are ``sizes``.
        """
        origin = ORIGINS[self.official_points]
        points0, points1 = (xy - origin for xy in points)
        true = (for_indices(truth) if self.official_points == "indices" else truth).numpy()
        corners = corners_of(sizes[0][1] - 2 * origin, sizes[0][0] - 2 * origin)
        unit = min(sizes[1]) / self.unit_side if self.unit_side else 1.0
        chosen = self._chosen(confidence)
        try:
            fit = self.solver(points0[chosen], points1[chosen], self.threshold_px * unit)
            matrix, inliers = fit.matrix, int(fit.inliers.sum())
        except NoHomographyError:
            matrix, inliers = FAILURES[self.failure], 0
        errors = {"corner_error": mean_corner_error(matrix, true, corners) / unit, "inliers": float(inliers)}
        if self.linear:
            errors["linear_corner_error"] = (
                mean_corner_error(self._linear(points0, points1, confidence), true, corners) / unit
            )
        return errors

    def _chosen(self, confidence: Float64[np.ndarray, " M"]) -> np.ndarray:
        """Which matches the estimator is given, in their own order unless they are drawn."""
        count = len(confidence)
        if self.max_matches is None or count <= self.max_matches:
            return np.arange(count)
        if self.choice == "random":
            return np.random.default_rng(SEED).permutation(count)[: self.max_matches]
        return np.sort(np.argsort(-confidence, kind="stable")[: self.max_matches])

    def _linear(self, points0: Points, points1: Points, confidence: Float64[np.ndarray, " M"]) -> Matrix:
        try:
            return direct_linear(points0, points1, confidence)
        except NoHomographyError:
            return FAILURES[self.failure]
