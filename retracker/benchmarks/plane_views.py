"""Two views of a photograph as if it hung on a wall, in other light, and the homography between them."""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from torch import Tensor

from retracker.data.appearance import gamma_table
from retracker.data.picture_warps import Warping, homographies, path
from retracker.geometry.homography import affine, for_indices, transform
from retracker.media.image import as_video

VIEWS = 2
FINER = 4  # samples a side of each pixel, whose mean it is: at fewer, edges alias
LARGEST = (
    2  # times the size of a view: larger photographs are reduced to it, as samples would lie too far apart
)
ATTEMPTS = 200  # views drawn until both show enough
PROBES = 16  # points a side of the grid by which that is judged
ON_PHOTOGRAPH = 0.85  # of each view; the rest shows the photograph mirrored at its border
OVERLAP = 0.35  # of each view at least this share is in the other one


@dataclass(frozen=True, kw_only=True)
class Light:
    """How far the light of each view differs from the photograph's at most."""

    brightness: float | int  # by a factor between 1 - and 1 +
    slope: float | int  # likewise, growing over the view in some direction, zero in its middle
    tint: float | int  # likewise, of each colour on its own
    gamma: float | int  # between 1 / (1 + gamma) and 1 + gamma
    noise: float | int  # standard deviation, grey levels


@dataclass(frozen=True, kw_only=True)
class Change:
    """How far both views of a pair differ from the photograph at most, each on its own."""

    warping: Warping
    light: Light

    def __post_init__(self) -> None:
        if self.warping.bend != 0:
            raise ValueError(f"a bent photograph has no homography: expected bend 0, got {self.warping.bend}")


def draw_views(
    photograph: tuple[int, int], size: tuple[int, int], warping: Warping, rng: np.random.Generator
) -> Float64[Tensor, "2 3 3"]:
    """From raster px of two views to those of the photograph; both sizes are (height, width).

    Raises ValueError if no two views that show the photograph and each other can be found.
    """
    frame, whole = (torch.tensor([w, h], dtype=torch.float64) for h, w in (size, photograph))
    side = frame.prod().sqrt()  # of a square as large as a view: what amounts of warping are relative to
    eye, middle = torch.eye(2, dtype=torch.float64), torch.full((2,), 0.5, dtype=torch.float64)
    to_unit = affine(eye / side, frame / 2, middle)
    for _ in range(ATTEMPTS):
        enlarged = (whole / frame).min() / warping.zoom ** rng.uniform(0, 1)  # photograph px by view px
        to_photograph = affine(eye * side * enlarged, torch.zeros_like(middle), whole / 2)
        views = to_photograph @ homographies(path(VIEWS, 7, rng), warping) @ to_unit
        if _shown(views, whole, frame) >= ON_PHOTOGRAPH and overlap(views, size) >= OVERLAP:
            return views
    raise ValueError(f"no two views of a photograph show it and each other under {warping}: warp it less")


def overlap(views: Float64[Tensor, "2 3 3"], size: tuple[int, int]) -> float:
    """The smaller of the shares of the views, (height, width) each, that are in the other one."""
    frame = torch.tensor(size[::-1], dtype=torch.float64)
    return _shown(torch.linalg.inv(views.flip(0)) @ views, frame, frame)


def homography_between(views: Float64[Tensor, "2 3 3"]) -> Float64[Tensor, "3 3"]:
    """From raster px of view 0 to those of view 1; its last entry is 1."""
    matrix = torch.linalg.inv(views[1]) @ views[0]
    return matrix / matrix[2, 2]


def render(
    photograph: Float32[np.ndarray, "H W 3"], view: Float64[Tensor, "3 3"], size: tuple[int, int]
) -> Float32[np.ndarray, "h w 3"]:
    """What a view of (height, width) shows, in grey levels: each pixel is the mean over its area.

    The photograph itself is interpolated by Lanczos' filter, so that nothing is blurred beyond that mean.
    """
    height, width = size
    finer = torch.tensor([1 / FINER, 1 / FINER, 1.0], dtype=torch.float64).diag()
    samples = cv2.warpPerspective(
        photograph,
        for_indices(view @ finer).numpy(),
        (FINER * width, FINER * height),
        flags=cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA)


def lit(view: Float32[np.ndarray, "h w 3"], light: Light, rng: np.random.Generator) -> UInt8[Tensor, "3 h w"]:
    """A view in other light, as a sensor sees it."""
    height, width = view.shape[:2]
    brightness, slope, gamma, *tint = rng.uniform(-1, 1, 6)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32) / [[[height]], [[width]]] * 2 - 1
    gradient = 1 + slope * light.slope * (x * np.cos(turn) + y * np.sin(turn))
    gain = (1 + brightness * light.brightness) * (1 + light.tint * np.array(tint))
    levels = view * gain * gradient[..., None] + rng.normal(0, light.noise, view.shape)
    seen = cv2.LUT(levels.round().clip(0, 255).astype(np.uint8), gamma_table((1 + light.gamma) ** gamma))
    return as_video([seen])[0]


def reduced(photograph: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> Float32[np.ndarray, "h w 3"]:
    """A photograph, in grey levels, that is not much larger than its views of (height, width)."""
    height, width = photograph.shape[:2]
    levels, factor = photograph.astype(np.float32), LARGEST * max(size[0] / height, size[1] / width)
    if factor >= 1:
        return levels
    return cv2.resize(levels, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)


def _shown(
    matrices: Float64[Tensor, "2 3 3"], target: Float64[Tensor, "2"], frame: Float64[Tensor, "2"]
) -> float:
    """The smaller of the shares of two frames that land in ``target``, a rectangle; both (width, height)."""
    steps = (torch.arange(PROBES, dtype=torch.float64) + 0.5) / PROBES
    there, ahead = transform(matrices, torch.cartesian_prod(steps, steps) * frame)
    inside = ahead & (there >= 0).all(-1) & (there <= target).all(-1)
    return float(inside.double().mean(-1).min())
