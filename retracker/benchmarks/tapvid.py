"""TAP-Vid DAVIS, Kinetics and RGB-Stacking, and RoboTAP, to the letter of the official code.

Truth is what the file says times 256, in float64. Points outside the frame count as the file says.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import torch
from jaxtyping import Bool, Float64

from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import ALL, Scores, Tracked
from retracker.benchmarks.tapvid_protocol import Resolution, chosen_queries, tapvid_protocol
from retracker.benchmarks.tracking import AJ_RD, METRIC_SIZE, TrackBenchmark
from retracker.data.datasets.tapvid import TapVid
from retracker.data.storage import Storage
from retracker.geometry.coords import rescale
from retracker.metrics.redetection import RETURNS, redetection_jaccard
from retracker.types import Queries, VideoSample

FAR = 1.5  # from the centre of the frame, in units of its size: twice as far as a slip of annotation goes


@dataclass(frozen=True)
class Public:
    """A set as it was published."""

    title: str
    num_videos: int
    files: tuple[str, ...]


PUBLIC = {
    "davis": Public("TAP-Vid DAVIS", 30, ("tapvid_davis.pkl",)),
    "rgb_stacking": Public("TAP-Vid RGB-Stacking", 50, ("tapvid_rgb_stacking.pkl",)),
    # Of Kinetics 1,144 can commonly be had: videos vanish from YouTube.
    "kinetics": Public("TAP-Vid Kinetics", 1189, tuple(f"{i:04d}_of_0010.pkl" for i in range(10))),
    "robotap": Public("RoboTAP", 265, tuple(f"robotap_split{i}.pkl" for i in range(5))),
}


class TapVidBenchmark(TrackBenchmark):
    """One of the four sets, with its queries ``first`` or ``strided``, at one input ``resolution``."""

    def __init__(
        self, name: str, root: str, needs: Sequence[str], subset: str, query_mode: str, resolution: int | str
    ) -> None:
        if subset not in PUBLIC:
            raise ValueError(f"{name}: expected as subset one of {', '.join(PUBLIC)}, got {subset!r}")
        self.name, self.subset, self.public = name, subset, PUBLIC[subset]
        self.query_mode, self.resolution = query_mode, Resolution(resolution)
        file = check_found(root, needs, self.public.title)
        self.clips = TapVid(Storage(root, None).where(file.rpartition("/")[0]), subset)
        if not len(self):
            raise ValueError(f"{self.clips.storage.where(self.clips.files[0])}: has no videos")
        self.names = _unique(self.clips)
        self.protocol = {**tapvid_protocol(query_mode), **self.resolution.protocol, **self._completeness()}
        self.has_returns = subset == "robotap" and query_mode == "first"  # of long videos AJ_RD is published
        if self.has_returns:
            self.columns = (*self.columns, AJ_RD)
            self.protocol["AJ_RD"] = RETURNS
        title = self.resolution.titled(f"{self.public.title}, {query_mode}")
        whole = len(self) == self.public.num_videos
        self.title = title if whole else f"{title} ({self.protocol['videos']} videos)"

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        return self.names[index]

    def group(self, index: int) -> str:
        """RoboTAP's split."""
        return PurePosixPath(self.clips.videos[index].file).stem if self.subset == "robotap" else ALL

    def read(self, index: int) -> VideoSample:
        """A video and its queries, each with the whole track that it was taken from."""
        found = self.clips.annotated(index, range(self.clips.num_frames(index)), self.resolution.fit)
        size = np.array([found.video.shape[-1], found.video.shape[-2]])
        visible = ~found.hidden
        tracks = _normal(found.points, visible, self.clips.where(index)) * size
        points, frames = chosen_queries(visible, self.query_mode)
        if not len(points):
            raise ValueError(f"{self.clips.where(index)}: no point is visible where queries are taken from")
        shown = torch.from_numpy(visible[:, points])
        return VideoSample(
            video=found.video,
            queries=Queries(xy=torch.from_numpy(tracks[frames, points]), frame=torch.from_numpy(frames)),
            tracks=torch.from_numpy(tracks[:, points]),
            visible=shown,
            labelled=torch.ones_like(shown),
            located=shown,
            name=f"tapvid/{self.subset}/{self.names[index]}",
        )

    def score(self, item: VideoSample, answer: Tracked) -> Scores:
        """TAP-Vid's metrics; of RoboTAP also Jaccard after re-detection."""
        scores = super().score(item, answer)
        return {**scores, AJ_RD.metric: _after_returns(item, answer)} if self.has_returns else scores

    def _completeness(self) -> dict[str, str]:
        """What there is of the public set. Raises ValueError for files that belong to another."""
        there = {PurePosixPath(file).name for file in self.clips.files}
        foreign = sorted(there - set(self.public.files))
        if foreign:
            raise ValueError(
                f"{self.clips.storage.where(foreign[0])}: is not of {self.public.title}, whose files are "
                f"{self.public.files[0]} to {self.public.files[-1]}"
            )
        missing = [file for file in self.public.files if file not in there]
        told = {"missing_files": ", ".join(missing)} if missing else {}
        return {"videos": f"{len(self)} of {self.public.num_videos}", **told}


def _normal(
    points: Float64[np.ndarray, "T N 2"], visible: Bool[np.ndarray, "T N"], where: str
) -> Float64[np.ndarray, "T N 2"]:
    """Points with 0 where a hidden one has no position.

    Raises ValueError if a visible one has none, or if most of them lie so far outside the frame that they
    must be in pixels.
    """
    known = np.isfinite(points).all(-1)
    lost = np.argwhere(visible & ~known)
    if len(lost):
        frame, point = lost[0]
        raise ValueError(
            f"{where}: point {point} is visible in frame {frame}, but its position is not a number"
        )
    far = np.abs(points[visible] - 0.5).max(-1, initial=0) > FAR
    if 2 * far.sum() > len(far):
        x, y = points[visible][far][0]
        raise ValueError(f"{where}: expected points in [0, 1], but visible ones are at ({x:g}, {y:g}) and so")
    return np.where(known[..., None], points, 0.0)


def _after_returns(item: VideoSample, answer: Tracked) -> float:
    size = tuple(item.video.shape[-2:])
    apart = rescale(answer.tracks.double() - item.tracks.double(), size, (METRIC_SIZE, METRIC_SIZE))
    distance = apart.norm(dim=-1).numpy()
    return redetection_jaccard(distance, answer.visible.numpy(), item.visible.numpy())[AJ_RD.metric]


def _unique(clips: TapVid) -> list[str]:
    """The names of the videos, with their file where another file has a video of that name."""
    titles = [clips.title(index) for index in range(len(clips))]
    files = [PurePosixPath(video.file).stem for video in clips.videos]
    shared = Counter(titles)
    return [
        f"{file}/{title}" if shared[title] > 1 else title for title, file in zip(titles, files, strict=True)
    ]
