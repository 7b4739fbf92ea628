"""Overlays of the clips on which a tracker did worst and best, beside the ground truth."""

import math
from pathlib import Path

from retracker.benchmarks.protocol import Tracked
from retracker.benchmarks.runner import ClipScore
from retracker.media.video import write_video
from retracker.types import VideoSample
from retracker.visualize.tracks import draw_side_by_side

RANKED_BY = "average_jaccard"
FRAMES_PER_SECOND = 12.0  # slow enough to see a point jump


class Extremes:
    """Watches a run and keeps the worst and the best clip of one tracker in each group, to draw them."""

    def __init__(self, tracker: str) -> None:
        self.tracker = tracker
        self.kept: dict[tuple[str, str], tuple[ClipScore, VideoSample, Tracked]] = {}

    def __call__(self, score: ClipScore, sample: VideoSample, tracked: Tracked) -> None:
        if score.tracker != self.tracker or math.isnan(score.metrics[RANKED_BY]):
            return
        for rank, sign in (("worst", 1), ("best", -1)):
            before = self.kept.get((score.group, rank))
            if before is None or sign * score.metrics[RANKED_BY] < sign * before[0].metrics[RANKED_BY]:
                self.kept[score.group, rank] = (score, sample, tracked)

    def write(self, directory: Path) -> list[Path]:
        """One mp4 per group and rank: prediction on one side, ground truth on the other."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for (group, rank), (_, sample, tracked) in self.kept.items():
            pairs = (tracked.tracks.cpu(), tracked.visible.cpu(), sample.tracks, sample.visible)
            picture = draw_side_by_side(sample.video, *pairs, first_frame=sample.queries.frame)
            paths.append(directory / f"{group}_{rank}.mp4")
            write_video(paths[-1], picture, FRAMES_PER_SECOND)
        return paths
