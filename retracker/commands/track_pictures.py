"""From files of tracks to what draws them: checked against the video, one set or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from retracker.media.sources import FrameSource, Window
from retracker.media.track_files import read_tracks
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
    def window(self) -> Window:
        """Which frames of the video these are. Raises ValueError if they do not lie evenly."""
        numbers = self.results[0].frames
        if numbers is None:
            return Window(end=self.num_frames)
        start, stride = int(numbers[0]), int(numbers[1] - numbers[0]) if len(numbers) > 1 else 1
        window = Window(start=start, end=start + stride * self.num_frames, stride=max(1, stride))
        if not torch.equal(numbers, torch.arange(window.start, window.end, window.stride)):
            raise ValueError(
                f"expected tracks of evenly spaced frames, got frames {numbers.tolist()[:9]} ..."
            )
        return window

    @property
    def anchors(self) -> Float[Tensor, "N 2"]:
        """Where the points take their colours from, the same ones in all panels."""
        first = self.results[0]
        birth = first.first_frame.clamp(max=self.num_frames - 1)
        return first.tracks.gather(0, birth[None, :, None].expand(1, -1, 2))[0]


def read_sets(paths: Sequence[Path], truth: Path | None) -> TrackSets:
    """Read all files. Raises ValueError if they do not belong to one another."""
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
    return TrackSets(results=tuple(results[path] for path in paths), truth=results[truth] if truth else None)


def check_belongs(sets: TrackSets, paths: Sequence[Path], source: FrameSource) -> None:
    """Raise ValueError if the tracks are of a video of another size, or of a longer one."""
    height, width = source.size()
    results = [*sets.results, *([sets.truth] if sets.truth else [])]
    for path, result in zip(paths, results, strict=True):
        if result.size not in (None, (height, width)):
            own = f"{result.size[1]} x {result.size[0]} px"
            raise ValueError(
                f"{path}: belongs to a video of {own}, but {source.where} has {width} x {height}"
            )
    there = source.counted()
    if there is not None and there < sets.num_frames:
        raise ValueError(f"{paths[0]}: has {sets.num_frames} frames, more than the {there} of {source.where}")


def overlay(
    sets: TrackSets, style: TrackStyle, titles: Sequence[str] | None, source: FrameSource, *, lines: bool
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
        numbers = [source.window.number(t) for t in range(sets.num_frames)]
        return MatchLines(painters[0], source.read([reference])[0], reference, numbers)
    if titles is None:
        return painters[0]
    truth = None
    if sets.truth is not None:
        births = sets.results[0].first_frame  # the truth may know points that nobody has asked for yet
        known = (sets.truth.tracks, sets.truth.visible, births)
        truth = TrackPainter(*known, style, sets.truth.confidence, sets.anchors)
    return SideBySide(panels=dict(zip(titles, painters, strict=True)), truth=truth)
