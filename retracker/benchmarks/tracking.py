"""What all tracking benchmarks share: how a tracker is asked, scored with TAP-Vid's metrics, and drawn."""

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.benchmarks.protocol import Benchmark, Column, Curve, Scores, Tracked, Tracker
from retracker.geometry.coords import rescale
from retracker.media.video import write_video
from retracker.metrics.tapvid import THRESHOLDS, compute_tapvid_metrics
from retracker.types import VideoSample
from retracker.visualize.side_by_side import draw_side_by_side

METRIC_SIZE = 256  # px: TAP-Vid measures in a 256 x 256 raster, whatever size the tracker saw
DRAWN = 128  # points at most: more hide the video, and one another
FRAMES_PER_SECOND = 12.0  # slow enough to see a point jump

Ask = Callable[[VideoSample], Tracked]

AJ = Column(heading="AJ", metric="average_jaccard")
DELTA = Column(heading="delta_avg", metric="average_pts_within_thresh")
OA = Column(heading="OA", metric="occlusion_accuracy")
AJ_RD = Column(heading="AJ_RD", metric="average_jaccard_redetection")


class TrackBenchmark(Benchmark[VideoSample, Tracked], ABC):
    """Videos with queries (in ``sample.queries``, one for each column of ``sample.tracks``).

    As it stands it scores with TAP-Vid's metrics; a benchmark with others has its own ``score``, ``columns``.
    """

    kind = "tracker"
    usual_baselines = ("stay", "lucas_kanade")
    query_mode = "first"  # or "strided": a query has a past to be found, too
    columns = (AJ, DELTA, OA, *(Column(heading=f"<{t} px", metric=f"pts_within_{t}") for t in THRESHOLDS))
    headline = (AJ, DELTA, OA)
    curves = (
        Curve(
            title="visible points found within",
            thresholds=THRESHOLDS,
            unit="px at 256 x 256",
            metrics=tuple(f"pts_within_{t}" for t in THRESHOLDS),
        ),
        Curve(
            title="Jaccard",
            thresholds=THRESHOLDS,
            unit="px at 256 x 256",
            metrics=tuple(f"jaccard_{t}" for t in THRESHOLDS),
        ),
    )
    ranked_by = "average_jaccard"

    def size(self, item: VideoSample) -> int:
        return len(item.video)

    def ask(self, method: Tracker, item: VideoSample) -> Tracked:
        """What the tracker says of all queries at once, checked in each direction of time."""

        def track(video: UInt8[Tensor, "T 3 H W"], queries: Float[Tensor, "N 3"]) -> Tracked:
            answer = method(video, queries).map(lambda x: x.detach().cpu())
            check_answer(item, answer)
            return answer

        asked = both_directions(track) if self.query_mode == "strided" else track
        return asked(item.video, queries_txy(item))

    def score(self, item: VideoSample, answer: Tracked) -> Scores:
        """TAP-Vid's metrics, each in [0, 1]."""
        return score_clip(item, answer, self.query_mode)

    def arrays(self, item: VideoSample, answer: Tracked) -> Mapping[str, np.ndarray]:
        """Tracks, visibility, confidence and queries (t, x, y): in px of the video that was tracked."""
        return {
            "video_name": np.array(item.name),
            "queries": queries_txy(item).numpy(),
            "tracks": answer.tracks.numpy(),
            "visible": answer.visible.numpy(),
            "confidence": answer.confidence.numpy(),
            "size": np.array(item.video.shape[-2:]),
        }

    def picture(self, item: VideoSample, answer: Tracked, path: Path) -> Path:
        """An mp4: prediction on one side, truth on the other."""
        drawn = torch.linspace(0, item.tracks.shape[1] - 1, min(DRAWN, item.tracks.shape[1])).round().long()
        parts = (answer.tracks, answer.visible, item.tracks, item.visible)
        picture = draw_side_by_side(
            item.video, *(part[:, drawn] for part in parts), first_frame=item.queries.frame[drawn]
        )
        write_video(path.with_suffix(".mp4"), picture, FRAMES_PER_SECOND)
        return path.with_suffix(".mp4")

    def departure(self, ask: Ask, item: VideoSample, answer: Tracked, points: int) -> float:
        """How far (px at 256 x 256) some points go when each is asked for alone, that is ``ask`` answers for
        the clip with it only; infinitely far if one is visible in one answer only. By the benchmark's rule an
        answer does not depend on other queries."""
        num_points = item.tracks.shape[1]
        chosen = torch.linspace(0, num_points - 1, min(points, num_points)).round().long().tolist()
        return max((self._departure(ask, item, answer, n) for n in chosen), default=0.0)

    def _departure(self, ask: Ask, item: VideoSample, answer: Tracked, n: int) -> float:
        alone, together = ask(point_of(item, n)), answer.map(lambda x: x[:, n : n + 1])
        if (alone.visible != together.visible).any():
            return float("inf")
        size = tuple(item.video.shape[-2:])
        apart = rescale((alone.tracks - together.tracks).double(), size, (METRIC_SIZE, METRIC_SIZE))
        return float(apart.norm(dim=-1).max())


def point_of(sample: VideoSample, n: int) -> VideoSample:
    """The clip with one of its points only."""
    return replace(
        sample,
        queries=sample.queries.map(lambda x: x[n : n + 1]),
        tracks=sample.tracks[:, n : n + 1],
        visible=sample.visible[:, n : n + 1],
        labelled=sample.labelled[:, n : n + 1],
        located=sample.located[:, n : n + 1],
    )


def both_directions(tracker: Tracker) -> Tracker:
    """A tracker (of answers on the CPU) that also follows each point back from its query: on the reversed
    video, frames swapped."""

    def track(video: Tensor, queries: Float[Tensor, "N 3"]) -> Tracked:
        last = len(video) - 1
        ahead = tracker(video, queries)
        mirrored = torch.cat([last - queries[:, :1], queries[:, 1:]], dim=-1)
        back = tracker(video.flip(0), mirrored).map(lambda x: x.flip(0))
        before = torch.arange(last + 1)[:, None] < queries[None, :, 0]
        return Tracked(
            tracks=torch.where(before[..., None], back.tracks, ahead.tracks),
            visible=torch.where(before, back.visible, ahead.visible),
            confidence=torch.where(before, back.confidence, ahead.confidence),
        )

    return track


def score_clip(sample: VideoSample, tracked: Tracked, query_mode: str = "first") -> dict[str, float]:
    """The TAP-Vid metrics of one unbatched clip, each in [0, 1]; NaN where no visible point is evaluated.

    Raises ValueError if the tracker's answer has the wrong shape or is not finite, or if the truth has gaps.
    """
    tracks, visible = tracked.tracks.detach().cpu(), tracked.visible.detach().cpu()
    check_answer(sample, tracked)
    if not sample.labelled.all() or (sample.visible & ~sample.located).any():
        raise ValueError(f"{sample.name}: ground truth is incomplete, TAP-Vid metrics need all of it")
    size = tuple(sample.video.shape[-2:])

    def raster(xy: Tensor) -> np.ndarray:
        return rescale(xy.double(), size, (METRIC_SIZE, METRIC_SIZE)).numpy()

    time = sample.queries.frame.double()[:, None].numpy()
    query_tyx = np.concatenate([time, raster(sample.queries.xy)[:, ::-1]], axis=-1)  # N 3
    scores = compute_tapvid_metrics(
        query_tyx[None],
        ~sample.visible.T.numpy()[None],  # T N -> 1 N T
        raster(sample.tracks).transpose(1, 0, 2)[None],  # T N 2 -> 1 N T 2
        ~visible.T.numpy()[None],
        raster(tracks).transpose(1, 0, 2)[None],
        query_mode,
    )
    return {name: float(np.asarray(value).reshape(-1)[0]) for name, value in scores.items()}


def queries_txy(sample: VideoSample) -> Float[Tensor, "N 3"]:
    """The queries of a clip as one array of (t, x, y), px; one just outside the frame is put on its border.

    TAP-Vid has points that are called visible a hair outside; a tracker may refuse those.
    """
    height, width = sample.video.shape[-2:]
    xy = sample.queries.xy.float()
    inside = torch.minimum(xy.clamp(min=0), xy.new_tensor([width, height]))
    return torch.cat([sample.queries.frame[:, None].float(), inside], dim=-1)


def check_answer(sample: VideoSample, answer: Tracked) -> None:
    """Raise ValueError unless the answer has the shape of the clip's labels, is finite, and decides."""
    frames_points = tuple(sample.visible.shape)
    shapes = [tuple(part.shape) for part in (answer.tracks, answer.visible, answer.confidence)]
    if shapes != [(*frames_points, 2), frames_points, frames_points]:
        raise ValueError(
            f"{sample.name}: expected tracks {(*frames_points, 2)} and as many visibilities and confidences, "
            f"got {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    if answer.visible.dtype != torch.bool:
        raise ValueError(f"{sample.name}: expected visible as true or false, got {answer.visible.dtype}")
    if not answer.tracks.isfinite().all():
        raise ValueError(f"{sample.name}: the tracker returned positions that are not finite")
