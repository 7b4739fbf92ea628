"""Tracks on their video as an .rrd file, for rerun's viewer (an optional package)."""

import importlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Bool, UInt8
from torch import Tensor

from retracker.media.files import replacing
from retracker.types import TrackResult

TRAIL = 12  # frames
JPEG_QUALITY = 85


def check_rerun() -> None:
    """Raise ValueError if the package is not installed."""
    if importlib.util.find_spec("rerun") is None:
        raise ValueError("--save rrd: needs the package rerun (pip install rerun-sdk)")


def write_rrd(
    path: Path,
    result: TrackResult,
    frames: Iterable[UInt8[Tensor, "3 H W"]],
    colours: UInt8[np.ndarray, "N 3"],
) -> None:
    """Frames, points (visible ones apart from hidden ones) with their confidence, and trails, on timelines of
    frames and, if they are known, seconds. Positions are raster px, as rerun counts them."""
    check_rerun()
    rerun = importlib.import_module("rerun")
    tracks, seen = result.tracks.numpy(), result.visible.numpy()
    born = result.first_frame.numpy()
    with replacing(path) as partial, rerun.RecordingStream("retracker") as recording:
        recording.save(partial)
        for t, frame in enumerate(frames):
            recording.set_time("frame", sequence=t if result.frames is None else int(result.frames[t]))
            if result.times is not None:
                recording.set_time("time", duration=float(result.times[t]))
            picture = rerun.Image(frame.permute(1, 2, 0).numpy()).compress(jpeg_quality=JPEG_QUALITY)
            recording.log("video", picture)
            recording.log("video/visible", _points(rerun, result, t, seen[t], colours, radius=4.0))
            hidden = ~seen[t] & (born <= t)
            recording.log("video/hidden", _points(rerun, result, t, hidden, colours // 3, radius=2.0))
            followed = np.flatnonzero(born < t)
            trails = [tracks[max(t - TRAIL, born[n]) : t + 1, n] for n in followed]
            recording.log("video/trails", rerun.LineStrips2D(trails, colors=colours[followed]))
        recording.flush()
        recording.disconnect()


def _points(
    rerun: ModuleType,
    result: TrackResult,
    t: int,
    which: Bool[np.ndarray, " N"],
    colours: UInt8[np.ndarray, "N 3"],
    *,
    radius: float,
) -> object:
    ids = np.flatnonzero(which)
    return rerun.Points2D(
        result.tracks[t, ids].numpy(),
        colors=colours[ids],
        radii=rerun.Radius.ui_points(radius),
        labels=[f"{n}: {result.confidence[t, n]:.2f}" for n in ids],
        show_labels=False,
    )
