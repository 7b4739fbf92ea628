"""Tracking by optical flow alone: DIS (Kroeger et al., ECCV 2016) from frame to frame, chained."""

from collections.abc import Callable
from types import MappingProxyType

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from retracker.benchmarks.baselines import grey
from retracker.benchmarks.protocol import Tracked
from retracker.geometry.coords import sample_image

PRESETS = MappingProxyType(
    {
        "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
        "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
        "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
    }
)
SMALLEST = 12  # px: OpenCV refuses smaller frames

Flow = Callable[[np.ndarray, np.ndarray], Float[Tensor, "1 2 H W"]]  # px, from one grey image to another


def dis_flow(
    video: UInt8[Tensor, "T 3 H W"],
    queries: Float[Tensor, "N 3"],
    preset: str,
    round_trip: float | int,
) -> Tracked:
    """Move points (t, x, y) with the flow from frame to frame.

    A point is hidden for good as soon as it leaves the frame, or the flow back does not return it to within
    ``round_trip`` px; it still goes with the flow, which on clips of the training generator is closer to the
    truth than staying. Raises ValueError for an unknown preset and for frames that OpenCV refuses.
    """
    flow = _flow(preset)
    if min(video.shape[-2:]) < SMALLEST:
        raise ValueError(f"dis_flow: expected frames of {SMALLEST} px or more, got {tuple(video.shape[-2:])}")
    born, xy = queries[:, 0].long(), queries[:, 1:].float()
    visible = born < 0  # nobody is born yet
    tracks, shown = [], []
    for t, frame in enumerate(map(grey, video)):
        if t > 0:
            moved, returned = _step(flow, grey(video[t - 1]), frame, xy)
            visible = visible & _inside(moved, frame) & (returned < round_trip)
            xy = torch.where((born < t)[:, None], moved, xy)
        visible = visible | (born == t)
        tracks.append(xy)
        shown.append(visible)
    seen = torch.stack(shown)
    return Tracked(tracks=torch.stack(tracks), visible=seen, confidence=seen.float())


def _flow(preset: str) -> Flow:
    if preset not in PRESETS:
        raise ValueError(f"dis_flow: there is no preset {preset!r}; there are {', '.join(PRESETS)}")
    dis = cv2.DISOpticalFlow_create(PRESETS[preset])

    def flow(source: np.ndarray, target: np.ndarray) -> Float[Tensor, "1 2 H W"]:
        return torch.from_numpy(dis.calc(source, target, None)).permute(2, 0, 1)[None]

    return flow


def _step(
    flow: Flow, source: np.ndarray, target: np.ndarray, xy: Float[Tensor, "N 2"]
) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Where points of the source are in the target, and how far (px) from their start the way back ends."""
    ahead = sample_image(flow(source, target), xy[None])[0]
    back = sample_image(flow(target, source), (xy + ahead)[None])[0]
    return xy + ahead, (ahead + back).norm(dim=-1)


def _inside(xy: Float[Tensor, "N 2"], frame: np.ndarray) -> Bool[Tensor, " N"]:
    height, width = frame.shape
    return ((xy >= 0) & (xy < xy.new_tensor([width, height]))).all(dim=-1)
