"""How far predicted points are from the truth: the share that is close (PCK) and the mean error (EPE)."""

from jaxtyping import Bool, Float
from torch import Tensor


def end_point_error(
    tracks: Float[Tensor, "B T N 2"], truth: Float[Tensor, "B T N 2"], counted: Bool[Tensor, "B T N"]
) -> Float[Tensor, " B"]:
    """Mean distance in pixels over the counted points of each clip; NaN for a clip in which none counts."""
    return _clip_mean(_distance(tracks, truth), counted)


def pck(
    tracks: Float[Tensor, "B T N 2"],
    truth: Float[Tensor, "B T N 2"],
    counted: Bool[Tensor, "B T N"],
    pixels: float,
) -> Float[Tensor, " B"]:
    """Share of each clip's counted points that lie closer than ``pixels``; NaN where none counts."""
    return _clip_mean((_distance(tracks, truth) < pixels).float(), counted)


def _distance(tracks: Float[Tensor, "B T N 2"], truth: Float[Tensor, "B T N 2"]) -> Float[Tensor, "B T N"]:
    return (tracks.float() - truth.float()).norm(dim=-1)


def _clip_mean(values: Float[Tensor, "B T N"], counted: Bool[Tensor, "B T N"]) -> Float[Tensor, " B"]:
    return values.where(counted, 0.0).sum((1, 2)) / counted.sum((1, 2))
