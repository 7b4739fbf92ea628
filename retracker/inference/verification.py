"""Which matches agree on one geometry: a homography, a fundamental matrix, or an essential one.

The estimators are OpenCV's and PoseLib's. Whoever found a matrix, its inliers are counted here and alike: by
the distance to where a homography puts a point, or by Sampson's distance to its epipolar line (Hartley and
Zisserman, Multiple View Geometry, section 11.4.3). Protocols of benchmarks have solvers of their own.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from retracker.types import TensorStruct

# How many matches fit a matrix of each kind whatever they are: only more than that prove anything.
SAMPLE_SIZE = MappingProxyType({"homography": 4, "fundamental": 7, "essential": 5})
OPENCV = MappingProxyType({"magsac": cv2.USAC_MAGSAC, "ransac": cv2.RANSAC})
SOLVERS = (*OPENCV, "poselib")
THRESHOLD_PX = 3.0
CONFIDENCE = 0.9999
MAX_ITERATIONS = 10_000
LEAST = 1e-12  # of a homography's last entry, which is made 1: less would send the image's corner away
UNSCORED = np.finfo(np.float64).max  # PoseLib's score of no model: its matrix is then whatever lay in memory

Points = Float64[np.ndarray, "M 2"]
Matrix = Float64[np.ndarray, "3 3"]
Camera = Sequence[float | int]  # fx, fy, cx, cy in raster px: the upper-left pixel's centre is (0.5, 0.5)


class NoGeometryError(ValueError):
    """Matches that no geometry was found for: too few, or they agree on nothing."""


@dataclass(frozen=True, kw_only=True)
class Geometry(TensorStruct):
    """What matches agree on.

    A homography takes points of image a to image b; for the others b^T matrix a = 0, a and b in raster px, or
    for an essential matrix in units of the focal lengths around the principal points. Inliers are within the
    threshold: the distance in image b for a homography, Sampson's of both images for the others.
    """

    kind: str
    matrix: Float64[Tensor, "3 3"]  # a homography's last entry is 1; of the others the length is 1
    inliers: Bool[Tensor, " M"]
    solver: str
    threshold_px: float
    rotation: Float64[Tensor, "3 3"] | None = None  # of an essential matrix: x_b = rotation x_a + translation
    translation: Float64[Tensor, "3"] | None = None  # of length 1

    @property
    def num_inliers(self) -> int:
        return int(self.inliers.sum())


def verify(
    points_a: Float[Tensor, "M 2"],
    points_b: Float[Tensor, "M 2"],
    kind: str,
    solver: str = "magsac",
    threshold_px: float | int = THRESHOLD_PX,
    cameras: tuple[Camera, Camera] | None = None,
) -> Geometry:
    """The geometry of ``kind`` that most matches (raster px) agree on; the same matches give the same answer.

    ``solver`` is ``magsac`` or ``ransac`` (OpenCV) or ``poselib``. An essential matrix needs both cameras.
    Raises NoGeometryError where there is none, and ValueError for an unknown kind or solver, cameras that are
    missing, or PoseLib that is not installed.
    """
    check_question(kind, solver, threshold_px, cameras)
    a, b = (points.detach().cpu().double().numpy() for points in (points_a, points_b))
    fewest = SAMPLE_SIZE[kind] + 1
    if len(a) < fewest:
        raise NoGeometryError(
            f"{len(a)} matches, expected at least {fewest}: any {SAMPLE_SIZE[kind]} agree on one"
        )
    solve = {"homography": _homography, "fundamental": _fundamental}.get(kind)
    rotation = translation = None
    if solve is not None:
        matrix = solve(a, b, solver, float(threshold_px))
        residuals = _transfer(matrix, a, b) if kind == "homography" else _sampson(matrix, a, b)
    else:
        rotation, translation = _pose(a, b, cameras, solver, float(threshold_px))
        matrix = _cross(translation) @ rotation
        inward_a, inward_b = (np.linalg.inv(_intrinsics(camera)) for camera in cameras)
        residuals = _sampson(inward_b.T @ matrix @ inward_a, a, b)
    inliers = residuals < threshold_px
    if inliers.sum() < fewest:
        raise NoGeometryError(f"{len(a)} matches agree on no {kind} geometry")
    return Geometry(
        kind=kind,
        matrix=_tensor(matrix / (matrix[2, 2] if kind == "homography" else np.linalg.norm(matrix))),
        inliers=torch.from_numpy(inliers),
        solver=solver,
        threshold_px=float(threshold_px),
        rotation=None if rotation is None else _tensor(rotation),
        translation=None if translation is None else _tensor(translation),
    )


def check_question(
    kind: str, solver: str, threshold_px: float | int, cameras: tuple[Camera, Camera] | None
) -> None:
    """Raise ValueError, in one sentence, for what ``verify`` cannot be asked."""
    if kind not in SAMPLE_SIZE:
        raise ValueError(f"geometry: expected one of {', '.join(SAMPLE_SIZE)}, got {kind!r}")
    if solver not in SOLVERS:
        raise ValueError(f"solver: expected one of {', '.join(SOLVERS)}, got {solver!r}")
    if not 0 < threshold_px < np.inf:
        raise ValueError(f"threshold: expected a positive number of px, got {threshold_px:g}")
    if solver == "poselib" and importlib.util.find_spec("poselib") is None:
        raise ValueError("solver: poselib is not installed (pip install poselib); magsac and ransac are")
    if kind == "essential" and cameras is None:
        raise ValueError("an essential matrix needs the cameras of both images (fx, fy, cx, cy)")
    for camera in cameras or ():
        if len(camera) != 4 or not np.isfinite(camera).all() or min(camera[:2]) <= 0:
            raise ValueError(f"camera: expected fx,fy,cx,cy in px, fx and fy positive, got {list(camera)}")


def _homography(a: Points, b: Points, solver: str, threshold: float) -> Matrix:
    if solver == "poselib":
        matrix, found = _poselib().estimate_homography(a, b, {"max_reproj_error": threshold})
        _check_poselib(found)
    else:
        matrix, _ = _opencv(
            lambda: cv2.findHomography(
                a, b, OPENCV[solver], threshold, maxIters=MAX_ITERATIONS, confidence=CONFIDENCE
            )
        )
    return _solved(None if matrix is None or abs(matrix[2, 2]) < LEAST else matrix)


def _fundamental(a: Points, b: Points, solver: str, threshold: float) -> Matrix:
    if solver == "poselib":
        matrix, found = _poselib().estimate_fundamental(a, b, {"max_epipolar_error": threshold})
        _check_poselib(found)
    else:
        matrix, _ = _opencv(
            lambda: cv2.findFundamentalMat(a, b, OPENCV[solver], threshold, CONFIDENCE, MAX_ITERATIONS)
        )
    return _solved(None if matrix is None else matrix[:3])  # seven points have up to three solutions


def _pose(
    a: Points, b: Points, cameras: tuple[Camera, Camera], solver: str, threshold: float
) -> tuple[Matrix, Float64[np.ndarray, "3"]]:
    """Rotation and direction of the motion from camera a to camera b."""
    if solver == "poselib":
        models = [{"model": "PINHOLE", "width": -1, "height": -1, "params": list(c)} for c in cameras]
        pose, found = _poselib().estimate_relative_pose(a, b, *models, {"max_epipolar_error": threshold})
        _check_poselib(found)
        rotation, translation = np.array(pose.R), np.array(pose.t)
    else:
        xy_a, xy_b = ((xy - c[2:]) / c[:2] for xy, c in zip((a, b), map(np.array, cameras), strict=True))
        focal = np.mean([c[:2] for c in cameras])
        rotation, translation = _opencv_pose(xy_a, xy_b, OPENCV[solver], threshold / focal)
    length = np.linalg.norm(translation)
    if not (np.isfinite(rotation).all() and 0 < length < np.inf):
        raise NoGeometryError("no motion of the camera was found")
    return rotation, translation / length


def _opencv_pose(
    a: Points, b: Points, method: int, threshold: float
) -> tuple[Matrix, Float64[np.ndarray, "3"]]:
    """By the essential matrix (five points have several) with the most inliers in front of both cameras."""
    eye = np.eye(3)
    essentials, mask = _opencv(
        lambda: cv2.findEssentialMat(
            a, b, eye, method=method, prob=CONFIDENCE, threshold=threshold, maxIters=MAX_ITERATIONS
        )
    )
    blocks = () if essentials is None else np.split(essentials, len(essentials) // 3)
    poses = [_opencv(lambda e=block: cv2.recoverPose(e, a, b, eye, mask=mask.copy())) for block in blocks]
    count, rotation, translation, _ = max(poses, key=lambda pose: pose[0], default=(0, eye, eye, None))
    if not count:
        raise NoGeometryError("no essential matrix with a point in front of both cameras")
    return rotation, translation[:, 0]


def _transfer(matrix: Matrix, a: Points, b: Points) -> Float64[np.ndarray, " M"]:
    """How far from its match, in image b, each point lands; infinitely far if it lands behind the horizon."""
    there = _homogeneous(a) @ matrix.T
    there = there * np.sign(np.median(there[:, 2]))  # a matrix means as much as its negative
    ahead = there[:, 2] > 0
    depth = np.where(ahead, there[:, 2], 1.0)
    return np.where(ahead, np.linalg.norm(there[:, :2] / depth[:, None] - b, axis=1), np.inf)


def _sampson(matrix: Matrix, a: Points, b: Points) -> Float64[np.ndarray, " M"]:
    """First-order distance of each match from the nearest one that fulfils b^T matrix a = 0, px."""
    line_b, line_a = _homogeneous(a) @ matrix.T, _homogeneous(b) @ matrix
    product = np.abs((_homogeneous(b) * line_b).sum(axis=1))
    slope = np.sqrt((line_a[:, :2] ** 2).sum(axis=1) + (line_b[:, :2] ** 2).sum(axis=1))
    return product / np.maximum(slope, np.finfo(np.float64).tiny)


def _homogeneous(points: Points) -> Float64[np.ndarray, "M 3"]:
    return np.concatenate([points, np.ones((len(points), 1))], axis=1)


def _cross(v: Float64[np.ndarray, "3"]) -> Matrix:
    """The matrix that multiplies as the cross product with ``v`` from the left."""
    x, y, z = v
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _intrinsics(camera: Camera) -> Matrix:
    fx, fy, cx, cy = camera
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def _solved(matrix: np.ndarray | None) -> Matrix:
    if matrix is None or not np.isfinite(matrix).all() or not matrix.any():
        raise NoGeometryError("the matches agree on no geometry")
    return np.array(matrix, dtype=np.float64)


def _opencv(solve: Callable[[], tuple]) -> tuple:
    try:
        return solve()
    except cv2.error as error:  # what it thinks of matches that allow no answer
        raise NoGeometryError(f"OpenCV: {' '.join(str(error.err).split())}") from error


def _poselib() -> object:
    return importlib.import_module("poselib")


def _check_poselib(found: dict) -> None:
    if not found["num_inliers"] or found.get("model_score", 0.0) >= UNSCORED:
        raise NoGeometryError("the matches agree on no geometry")


def _tensor(array: np.ndarray) -> Float64[Tensor, "..."]:
    return torch.from_numpy(np.array(array, dtype=np.float64))
