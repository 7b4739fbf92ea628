"""How relative pose is measured: sizes, estimator, thresholds and what counts as failure, by preset.

``pixels`` says in which px points and cameras reach the solver, and precision:

    exact     raster points and raster intrinsics, so that exact correspondences score 100
    official  what the official code has for the same matches, so that its numbers can be met to the digit

Official codes take the intrinsics as the file of the data set has them and scale them by a pure ratio,
whether they count from the corner (MegaDepth) or from the centre of the corner pixel (ScanNet, YFCC). LoFTR
and SuperGlue do the same with the pixel indices of the matched image, RoMa takes raster points on MegaDepth
and indices of its frame on ScanNet. So LoFTR is half a pixel off on MegaDepth, SuperGlue 0.75 px on YFCC
enlarged to 1600 px, RoMa 0.25 px on ScanNet. glue-factory adds the half pixel to its keypoints, and its
cameras count from the corner: that is exact, and ``official`` changes nothing. In simulations of the others,
the median change of a pair's error was 0.02 to 0.03 degrees, and AUC@5 changed by 0.1 to 0.6 points.

Not met are float32, in which LoFTR has intrinsics, poses and matches and SuperGlue turns poses, and RoMa's
shuffling without a seed.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float64
from torch import Tensor

from retracker.benchmarks.file_camera import FileCamera
from retracker.benchmarks.resizing import Resize
from retracker.benchmarks.solvers import Solver
from retracker.geometry.camera import scale_intrinsics
from retracker.geometry.coords import rescale
from retracker.metrics import epipolar

HALF = 0.5  # px: from the corner of a pixel to its centre
SEED = 0  # of samples and shuffles, anew for each pair
DISTANCES = MappingProxyType(
    {"squared": epipolar.squared_symmetric_distance, "mean": epipolar.mean_symmetric_distance}
)
PIXELS = ("exact", "official")
OFFICIAL_POINTS = ("indices", "frame_indices", "raster")
Solvable = tuple[Float64[np.ndarray, "M 2"], Float64[np.ndarray, "3 3"]]  # points and their camera


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a protocol does differently outdoors (MegaDepth, YFCC) and indoors (ScanNet)."""

    image: Resize  # what the matcher is shown
    frame: Resize | None  # in whose px the threshold is; None: in those of what the matcher was shown
    epipolar_threshold: float  # of precision, in the protocol's distance
    # What points are in the official code: "indices" of pixels of the matched image, "frame_indices" of those
    # of the frame, or "raster" px, with raster intrinsics.
    official_points: str

    def __post_init__(self) -> None:
        if self.official_points not in OFFICIAL_POINTS:
            raise ValueError(
                f"protocol: expected official_points {' or '.join(OFFICIAL_POINTS)}, "
                f"got {self.official_points}"
            )

    def frame_size(self, height: int, width: int) -> tuple[float, float]:
        """Height and width of the frame in which pose is solved; not rounded, as nothing is drawn in it."""
        if self.frame is None:
            height, width = self.image.size(height, width)
            return float(height), float(width)
        factors = self.frame.factors(height, width)
        return height * factors[0], width * factors[1]

    def exact(
        self, xy: Float64[Tensor, "M 2"], intrinsics: Float64[Tensor, "3 3"], size: tuple[int, int]
    ) -> Solvable:
        """Raster px of an image of (height, width) ``size``, and its camera, in those of the frame."""
        frame = self.frame_size(*size)
        return rescale(xy, size, frame).numpy(), scale_intrinsics(intrinsics, size, frame).numpy()

    def official(self, xy: Float64[Tensor, "M 2"], camera: FileCamera, size: tuple[int, int]) -> Solvable:
        """The same as an official code has them that takes indices of pixels."""
        frame = self.frame_size(*size)
        if self.official_points == "frame_indices":
            points = rescale(xy, size, frame) - HALF
        else:
            shown = self.image.size(*size)
            points = rescale(rescale(xy, size, shown) - HALF, shown, frame)
        return points.numpy(), camera.resized(frame).numpy()


@dataclass(frozen=True, kw_only=True)
class PoseProtocol:
    """One preset, to the last detail."""

    name: str
    solver: Solver
    thresholds_px: Sequence[float | int]  # of more than one, the one with the best exact AUC is reported
    runs: int  # of the solver for each pair; the errors of all are pooled
    shuffle: bool  # the order of matches, before each run
    samples: int | None  # at most so many matches are used
    failure_deg: float  # the error of a pair without a pose
    distance: str  # "squared" (SuperGlue, LoFTR) or "mean" (glue-factory): of precision
    scannet_cameras: str  # "files" (LoFTR) or "relative" (RoMa): see scannet1500.py
    pixels: str  # "exact" or "official": see above
    outdoor: Conditions
    indoor: Conditions

    def __post_init__(self) -> None:
        positive = len(self.thresholds_px) > 0 and all(threshold > 0 for threshold in self.thresholds_px)
        if not positive or self.runs < 1 or (self.samples is not None and self.samples < 1):
            raise ValueError(
                f"protocol {self.name}: expected positive thresholds_px, at least one run and samples of at "
                f"least 1 or null, got {list(self.thresholds_px)}, {self.runs} and {self.samples}"
            )
        known = self.distance in DISTANCES and self.pixels in PIXELS
        if not known or not self.failure_deg >= 90:
            raise ValueError(
                f"protocol {self.name}: expected distance {' or '.join(DISTANCES)}, pixels "
                f"{' or '.join(PIXELS)} and failure_deg of at least 90, got {self.distance}, {self.pixels} "
                f"and {self.failure_deg}"
            )
        if self.runs > 1 and not self.shuffle:
            raise ValueError(f"protocol {self.name}: {self.runs} runs without shuffle would all be the same")

    @property
    def label(self) -> str:
        """Preset, solver and threshold: without them a number means nothing."""
        thresholds = ", ".join(f"{threshold:g}" for threshold in self.thresholds_px)
        best = "best of " if len(self.thresholds_px) > 1 else ""
        official = ", official pixels" if self.pixels == "official" else ""
        return f"{self.name}{official}: {self.solver.name}, {best}{thresholds} px"

    def conditions(self, place: str) -> Conditions:
        """Those of "outdoor" or "indoor"."""
        return {"outdoor": self.outdoor, "indoor": self.indoor}[place]

    def describe(self, place: str) -> dict[str, Any]:
        """All that the meaning of the numbers depends on; json."""
        conditions = self.conditions(place)
        official = {"official_points": conditions.official_points} if self.pixels == "official" else {}
        return {
            "preset": self.name,
            "pixels": self.pixels,
            **official,
            **self.solver.describe(),
            "thresholds_px": list(self.thresholds_px),
            "threshold_px_of": (conditions.frame or conditions.image).describe(),
            "matched_image": conditions.image.describe(),
            "resize_filter": conditions.image.filter,
            "runs": self.runs,
            "shuffle": self.shuffle,
            "samples": self.samples,
            "failure_deg": "inf" if math.isinf(self.failure_deg) else self.failure_deg,
            "epipolar_distance": self.distance,
            "epipolar_threshold": conditions.epipolar_threshold,
        }

    def solvable(
        self,
        place: str,
        xy: Float64[Tensor, "M 2"],
        intrinsics: Float64[Tensor, "3 3"],
        camera: FileCamera,
        size: tuple[int, int],
    ) -> Solvable:
        """Raster px of an image of (height, width) ``size``, and its camera, as the solver is given them."""
        conditions = self.conditions(place)
        if self.pixels == "exact" or conditions.official_points == "raster":
            return conditions.exact(xy, intrinsics, size)
        return conditions.official(xy, camera, size)

    def selections(self, count: int) -> Iterator[np.ndarray]:
        """Which of ``count`` matches each run is given, and in which order."""
        random = np.random.default_rng(SEED)
        chosen = np.arange(count)
        if self.samples is not None and count > self.samples:
            chosen = random.permutation(count)[: self.samples]
        for _ in range(self.runs):
            if self.shuffle:
                chosen = random.permutation(chosen)
            yield chosen

    def distances(
        self,
        points0: Float64[np.ndarray, "M 2"],
        points1: Float64[np.ndarray, "M 2"],
        cameras: tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"]],
        pose_0to1: Float64[np.ndarray, "4 4"],
    ) -> Float64[np.ndarray, " M"]:
        """How far matches are from the true epipolar lines, as precision counts it."""
        xy0, xy1 = (
            epipolar.normalised(xy, camera) for xy, camera in zip((points0, points1), cameras, strict=True)
        )
        return DISTANCES[self.distance](xy0, xy1, epipolar.essential_matrix(pose_0to1))


def error_key(threshold_px: float | int, run: int) -> str:
    """The score that holds a pair's pose error of one run at one threshold."""
    return f"pose_error_{threshold_px:g}px_run{run + 1}"
