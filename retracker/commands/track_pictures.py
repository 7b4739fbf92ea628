"""From files of tracks to what draws them: checked against the video, one set or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from retracker.media.track_files import read_tracks
from retracker.media.video import VideoInfo, read_frames
from retracker.types import TrackResult
from retracker.visualize.side_by_side import SideBySide
from retracker.visualize.style import TrackStyle
from retracker.visualize.track_lines import MatchLines, reference_frame
from retracker.visualize.tracks import TrackPainter

Overlay = TrackPainter | SideBySide | MatchLines  # whatever draws a video's frame by its number


@dataclass(frozen=True, kw_only=True)
class TrackSets:
    """Tracks of the same points by several trackers, and perhaps the truth."""

    results: tuple[TrackResult, ...]
    truth: TrackResult | None

    @property
    def num_frames(self) -> int:
        return len(self.results[0].tracks)

    @property
    def anchors(self) -> Float[Tensor, "N 2"]:
        """Where the points take their colours from, the same ones in all panels."""
        first = self.results[0]
        birth = first.first_frame.clamp(max=self.num_frames - 1)
        return first.tracks.gather(0, birth[None, :, None].expand(1, -1, 2))[0]


def read_sets(paths: Sequence[Path], truth: Path | None, info: VideoInfo, video: Path) -> TrackSets:
    """Read all files. Raises ValueError if they do not belong to the video, or to one another."""
    results = {path: read_tracks(path) for path in [*paths, *([truth] if truth else [])]}
    shape = results[paths[0]].visible.shape
    if not shape[0]:
        raise ValueError(f"{paths[0]}: holds no frame")
    for path, result in results.items():
        if result.visible.shape != shape:
            frames, points = result.visible.shape
            raise ValueError(
                f"{path}: expected {shape[0]} frames and {shape[1]} points as in {paths[0]}, "
                f"got {frames} and {points}"
            )
        if result.size not in (None, (info.height, info.width)):
            height, width = result.size
            raise ValueError(
                f"{path}: belongs to a video of {width} x {height} px, but {video} has "
                f"{info.width} x {info.height}"
            )
    return TrackSets(results=tuple(results[path] for path in paths), truth=results[truth] if truth else None)


def overlay(
    sets: TrackSets, style: TrackStyle, titles: Sequence[str] | None, video: Path, *, lines: bool
) -> Overlay:
    """What draws the sets: panels if there are titles, else one picture; or lines from the frame of birth."""
    painters = [
        TrackPainter(
            result.tracks, result.visible, result.first_frame, style, result.confidence, sets.anchors
        )
        for result in sets.results
    ]
    if lines:
        reference = reference_frame(painters[0])
        return MatchLines(painters[0], read_frames(video, [reference])[0], reference)
    if titles is None:
        return painters[0]
    truth = None
    if sets.truth is not None:
        births = sets.results[0].first_frame  # the truth may know points that nobody has asked for yet
        known = (sets.truth.tracks, sets.truth.visible, births)
        truth = TrackPainter(*known, style, sets.truth.confidence, sets.anchors)
    return SideBySide(panels=dict(zip(titles, painters, strict=True)), truth=truth)
