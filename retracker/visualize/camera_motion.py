"""How the picture moves with the camera, from the tracks alone: what most points do is taken for it."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

FEWEST_POINTS = 8  # with fewer, nobody can say what the camera does
ENOUGH_FOR_PLANE = 16  # with fewer, a homography bends to the points' errors: a similarity then
TOLERANCE_PX = 1.5  # of a point that moves with the camera, from a frame to the next
LEAST_AGREEING = 0.35  # of the points, else they do not move as one picture
SURE = 0.999
ROUNDS = 2000


class CameraMotion:
    """The motion of the background between any two frames, as homographies of raster px.

    Each pair of neighbouring frames is looked at once, when it is first asked for; what lies further apart is
    composed of these. Where too few points are seen, or too few agree, the camera is taken to stand still.
    """

    def __init__(
        self, tracks: Float[np.ndarray, "T N 2"], visible: Bool[np.ndarray, "T N"], *, tolerance: float | int
    ) -> None:
        self._tracks, self._visible = tracks, visible
        self._tolerance = TOLERANCE_PX * tolerance
        self._to_first: dict[int, np.ndarray] = {0: np.eye(3)}

    def between(self, source: int, target: int) -> Float[np.ndarray, "3 3"]:
        """Takes a place of the background in one frame to its place in the other."""
        return np.linalg.inv(self._from_frame(target)) @ self._from_frame(source)

    def bring(self, points: Float[np.ndarray, "n 2"], source: int, target: int) -> Float[np.ndarray, "n 2"]:
        """Where points of one frame would lie in another had only the camera moved."""
        moved = points @ (matrix := self.between(source, target))[:, :2].T + matrix[:, 2]
        # Beyond the horizon of a steep homography nothing is seen: the point stays where it is.
        ahead = moved[:, 2:] > 1e-6
        return np.where(ahead, moved[:, :2] / np.where(ahead, moved[:, 2:], 1.0), points)

    def _from_frame(self, t: int) -> Float[np.ndarray, "3 3"]:
        """From frame ``t`` to frame 0."""
        for s in range(max(k for k in self._to_first if k <= t) + 1, t + 1):
            matrix = self._to_first[s - 1] @ np.linalg.inv(self._step(s - 1))
            self._to_first[s] = matrix / matrix[2, 2]
        return self._to_first[t]

    def _step(self, t: int) -> Float[np.ndarray, "3 3"]:
        both = self._visible[t] & self._visible[t + 1]
        return estimate(self._tracks[t, both], self._tracks[t + 1, both], self._tolerance)


def estimate(
    source: Float[np.ndarray, "n 2"], target: Float[np.ndarray, "n 2"], tolerance: float
) -> Float[np.ndarray, "3 3"]:
    """The motion that most points share: the identity if they are too few or share none."""
    still = np.eye(3)
    if len(source) < FEWEST_POINTS:
        return still
    options = {"ransacReprojThreshold": tolerance, "maxIters": ROUNDS, "confidence": SURE}
    if len(source) < ENOUGH_FOR_PLANE:
        found, agreeing = cv2.estimateAffinePartial2D(source, target, method=cv2.RANSAC, **options)
        found = None if found is None else np.concatenate([found, still[2:]])
    else:
        found, agreeing = cv2.findHomography(source, target, method=cv2.RANSAC, **options)
    usable = found is not None and np.isfinite(found).all() and abs(np.linalg.det(found)) > 1e-6
    return found if usable and agreeing.mean() >= LEAST_AGREEING else still
