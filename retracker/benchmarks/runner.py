"""Run trackers over the clips of a benchmark and gather their scores."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from retracker.benchmarks.protocol import Clips, Tracked, Tracker, queries_txy, score_clip
from retracker.types import VideoSample

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipScore:
    """What one tracker reached on one clip."""

    tracker: str
    group: str
    clip: str
    metrics: Mapping[str, float]  # each in [0, 1]; NaN where the clip has nothing to measure it on
    frames: int
    seconds: float

    @property
    def defined(self) -> bool:
        return not any(math.isnan(value) for value in self.metrics.values())


Watcher = Callable[[ClipScore, VideoSample, Tracked], None]


@dataclass(frozen=True, kw_only=True)
class Mean:
    """The unweighted mean over clips of one tracker, and how many clips had to be left out of it."""

    metrics: Mapping[str, float]
    clips: int
    skipped: int  # clips without a single visible point to evaluate
    frames_per_second: float


def run(
    trackers: Mapping[str, Tracker],
    groups: Mapping[str, Clips],
    query_mode: str,
    watch: Sequence[Watcher] = (),
) -> list[ClipScore]:
    """Every tracker on all frames of every clip of every group; each clip is read once.

    ``watch`` are called with each answer, to draw or store it. Raises ValueError for a malformed answer.
    """
    scores = []
    for group, samples in groups.items():
        for index in range(len(samples)):
            sample = samples[index]
            for name, tracker in trackers.items():
                score, tracked = _run_clip(name, tracker, group, sample, query_mode)
                scores.append(score)
                for look in watch:
                    look(score, sample, tracked)
            logger.info("%s: clip %d of %d done", group, index + 1, len(samples))
    return scores


def mean(scores: Sequence[ClipScore]) -> Mean:
    """The unweighted mean over clips; those where a metric is undefined are left out, and counted.

    Raises ValueError if nothing is left.
    """
    used = [score for score in scores if score.defined]
    if not used:
        raise ValueError("no clip has a visible point to evaluate, so there is no mean")
    return Mean(
        metrics={name: sum(s.metrics[name] for s in used) / len(used) for name in used[0].metrics},
        clips=len(used),
        skipped=len(scores) - len(used),
        frames_per_second=sum(s.frames for s in scores) / max(sum(s.seconds for s in scores), 1e-9),
    )


def _run_clip(
    name: str, tracker: Tracker, group: str, sample: VideoSample, query_mode: str
) -> tuple[ClipScore, Tracked]:
    started = time.perf_counter()
    tracked = tracker(sample.video, queries_txy(sample))
    seconds = time.perf_counter() - started
    score = ClipScore(
        tracker=name,
        group=group,
        clip=str(sample.name),
        metrics=score_clip(sample, tracked, query_mode),
        frames=len(sample.video),
        seconds=seconds,
    )
    if not score.defined:
        logger.warning("%s: left out of the mean, it has no visible point to evaluate", score.clip)
    return score, tracked
