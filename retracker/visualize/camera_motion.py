"""How the picture moves with the camera, from the tracks alone: what most points do is taken for it."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

FEWEST_POINTS = 8  # with fewer, nobody can say what the camera does
ENOUGH_FOR_PLANE = 16  # with fewer, a homography bends to the points' errors
TOLERANCE_PX = 1.5  # of a point that moves with the camera
LEAST_AGREEING = 0.35  # of the points, else they do not move as one picture
IN_COMMON = 0.5  # of a frame's points: with fewer, another key frame is due
SIMPLER_COSTS = 1.15  # a simpler motion is taken while it explains the points nearly as well as the best,
SIMPLER_PX = 0.1  # up to such an error: else a still camera follows whoever walks before it
SURE = 0.999
ROUNDS = 1000
HORIZON = 1e-6  # homogeneous scale below which a point lies on or behind it


class CameraMotion:
    """The motion of the background between any two frames, as homographies of raster px.

    Each frame is looked at once, when it is first needed, against a key frame that shares most of its points:
    errors add up from key frame to key frame only, and what walks leaves the background's path. Where too few
    points are seen, or too few agree, the camera is taken to stand still.
    """

    def __init__(
        self, tracks: Float[np.ndarray, "T N 2"], visible: Bool[np.ndarray, "T N"], *, unit: float | int
    ) -> None:
        self._tracks, self._visible = tracks, visible
        self._unit = unit  # px of the picture in a px of the video
        self._to_first = [np.eye(3)]  # of each frame looked at so far
        self._key = 0

    def between(self, source: int, target: int) -> Float[np.ndarray, "3 3"]:
        """Takes a place of the background in one frame to its place in the other."""
        return np.linalg.inv(self._from_frame(target)) @ self._from_frame(source)

    def bring(self, points: Float[np.ndarray, "n 2"], source: int, target: int) -> Float[np.ndarray, "n 2"]:
        """Where points of one frame would lie in another had only the camera moved."""
        return _transform(self.between(source, target), points)

    def _from_frame(self, t: int) -> Float[np.ndarray, "3 3"]:
        """From frame ``t`` to frame 0."""
        while len(self._to_first) <= t:
            matrix = self._to_key(len(self._to_first))
            matrix = self._to_first[self._key] @ matrix
            self._to_first.append(matrix / matrix[2, 2])
        return self._to_first[t]

    def _to_key(self, t: int) -> Float[np.ndarray, "3 3"]:
        """From frame ``t`` to the key frame, which becomes the frame before if too little is in common."""
        seen = self._visible[t] & self._visible[self._key]
        fewest = IN_COMMON * max(self._visible[t].sum(), self._visible[self._key].sum())
        matrix, agreeing = self._estimate(t, self._key)
        if seen.sum() >= fewest and agreeing >= LEAST_AGREEING:
            return matrix
        self._key = t - 1
        matrix, agreeing = self._estimate(t, t - 1)
        return matrix if agreeing >= LEAST_AGREEING else np.eye(3)

    def _estimate(self, source: int, target: int) -> tuple[Float[np.ndarray, "3 3"], float]:
        both = self._visible[source] & self._visible[target]
        return estimate(self._tracks[source, both], self._tracks[target, both], self._unit)


def estimate(
    source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"], unit: float | int = 1
) -> tuple[Float[np.ndarray, "3 3"], float]:
    """The motion that most points share, the simplest that explains them, and the share of points that agree.

    Of too few points none agrees. ``unit``: what a px of the video is in these.
    """
    if len(source) < FEWEST_POINTS:
        return np.eye(3), 0.0
    tolerance = TOLERANCE_PX * unit
    motions = _candidates(source, target, tolerance)
    errors = [np.hypot(*(_transform(motion, source) - target).T) for motion in motions]
    costs = np.array([np.mean(np.minimum(error, tolerance) ** 2) for error in errors])
    enough = SIMPLER_COSTS * costs.min() + (SIMPLER_PX * unit) ** 2
    chosen = int(np.flatnonzero(costs <= enough)[0])
    return motions[chosen], float((errors[chosen] < tolerance).mean())


def _candidates(source: np.ndarray, target: np.ndarray, tolerance: float | int) -> list[np.ndarray]:
    """From the simplest to the most flexible: none, a similarity, a homography."""
    options = {
        "method": cv2.RANSAC,
        "ransacReprojThreshold": float(tolerance),
        "maxIters": ROUNDS,
        "confidence": SURE,
    }
    motions = [np.eye(3)]
    similarity, _ = cv2.estimateAffinePartial2D(source, target, **options)
    if similarity is not None:
        motions.append(np.concatenate([similarity, [[0.0, 0.0, 1.0]]]))
    if len(source) >= ENOUGH_FOR_PLANE:
        plane, _ = cv2.findHomography(source, target, **options)
        motions += [] if plane is None else [plane]
    return [m for m in motions if np.isfinite(m).all() and abs(np.linalg.det(m)) > HORIZON]


def _transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """What has no place beyond the horizon of a steep homography stays where it is."""
    moved = points @ matrix[:, :2].T + matrix[:, 2]
    ahead = moved[:, 2:] > HORIZON
    return np.where(ahead, moved[:, :2] / np.where(ahead, moved[:, 2:], 1.0), points)
