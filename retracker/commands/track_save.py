"""What ``retracker track`` writes of one clip: a function per format."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from retracker.commands.shell import progress_bar
from retracker.inference.frames import finest_size, resize
from retracker.media.rerun_file import check_rerun, write_rrd
from retracker.media.sources import FrameSource
from retracker.media.track_files import write_tracks_csv, write_tracks_deeplabcut, write_tracks_npz
from retracker.media.video import UNKNOWN_FPS, VideoWriter
from retracker.types import TrackResult
from retracker.visualize.canvas import rainbow
from retracker.visualize.style import TrackStyle, readable_zoom
from retracker.visualize.tracks import TrackPainter

EVEN = 2e-3  # s: containers round times to thousandths


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A result, where it came from, and how it is shown."""

    result: TrackResult
    video: str  # as it was named
    source: FrameSource
    stem: Path  # of the files' names
    max_size: int | None  # px, of the longer side of pictures

    def pictures(self) -> Iterator[UInt8[Tensor, "3 h w"]]:
        """The frames that were tracked, no larger than ``max_size``: decoded again, not kept in memory."""
        size = finest_size(self.result.size, self.max_size)
        for _, frame in zip(range(len(self.result.tracks)), self.source, strict=False):
            yield resize(frame, size)

    def shrunk(self) -> TrackResult:
        """The result in px of those pictures."""
        height, width = self.result.size
        small = finest_size(self.result.size, self.max_size)
        scale = self.result.tracks.new_tensor([small[1] / width, small[0] / height])
        return self.result.map(lambda x: x * scale if x is self.result.tracks else x)


def check_formats(formats: tuple[str, ...]) -> None:
    """Raise ValueError, before the work, if a format needs what is not installed."""
    if "rrd" in formats:
        check_rerun()


def save(tracked: Tracked, name: str) -> Path:
    """Write one format; returns the file's path."""
    ending, write = FORMATS[name]
    path = tracked.stem.with_name(f"{tracked.stem.name}{ending}")
    write(path, tracked)
    return path


def _npz(path: Path, tracked: Tracked) -> None:
    write_tracks_npz(path, tracked.result, tracked.result.queries, tracked.video)


def _csv(path: Path, tracked: Tracked) -> None:
    write_tracks_csv(path, tracked.result)


def _deeplabcut(path: Path, tracked: Tracked) -> None:
    write_tracks_deeplabcut(path, tracked.result)


def _mp4(path: Path, tracked: Tracked) -> None:
    """The tracks drawn onto the video, which is enlarged if it is too small to be seen under marks."""
    result = tracked.shrunk()
    zoom = readable_zoom(result.size[0]) if tracked.max_size is None else 1
    painter = TrackPainter(result.tracks, result.visible, result.first_frame, TrackStyle(zoom=zoom))
    times = None if is_even(result) else result.times
    fps = result.fps or float(UNKNOWN_FPS)
    with VideoWriter(path, fps) as writer, progress_bar("drawing", len(result.tracks), "frames") as progress:
        for t, frame in enumerate(tracked.pictures()):
            writer.write(painter.draw(frame, t), None if times is None else times[t].item())
            progress()


def _rrd(path: Path, tracked: Tracked) -> None:
    result = tracked.shrunk()
    born = result.first_frame.clip(max=len(result.tracks) - 1).numpy()
    starts = result.tracks.numpy()[born, np.arange(len(born))]
    height, width = finest_size(result.size, tracked.max_size)
    colours = np.array(rainbow(starts.astype(float), height, width), dtype=np.uint8).reshape(-1, 3)
    write_rrd(path, result, tracked.pictures(), colours)


def is_even(result: TrackResult) -> bool:
    """Whether frames come at the rate that is known: then their times need not be written."""
    if result.times is None or result.fps is None or len(result.times) < 2:
        return True
    return bool(((result.times.diff() - 1 / result.fps).abs() < EVEN).all())


FORMATS: MappingProxyType[str, tuple[str, Callable[[Path, Tracked], None]]] = MappingProxyType(
    {
        "npz": (".npz", _npz),
        "csv": (".csv", _csv),
        "deeplabcut": ("_deeplabcut.csv", _deeplabcut),
        "mp4": (".mp4", _mp4),
        "rrd": (".rrd", _rrd),
    }
)
