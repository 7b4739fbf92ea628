"""Kubric's validation recordings, as CoTracker stores them, under TAP-Vid's metrics.

There is no official evaluator of these files. A point outside the frame counts as hidden, as in the script
that made them; a track that is not labelled in every frame is left out, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retracker.benchmarks.presence import check_found
from retracker.benchmarks.protocol import Scores, Tracked
from retracker.benchmarks.tapvid_protocol import Resolution, tapvid_protocol
from retracker.benchmarks.tracking import TrackBenchmark
from retracker.data.datasets.kubric import Kubric
from retracker.data.storage import Storage
from retracker.geometry.coords import rescale
from retracker.media.image import as_video
from retracker.types import Queries, VideoSample


@dataclass(frozen=True, kw_only=True)
class KubricClip(VideoSample):
    """A recording, and how many of its tracks could not be used."""

    tracks_left_out: int


class KubricBenchmark(TrackBenchmark):
    """Each point is asked for where it is first visible; of a recording there are at most ``max_tracks``."""

    def __init__(
        self, name: str, root: str, needs: Sequence[str], max_tracks: int, resolution: int | str
    ) -> None:
        if max_tracks < 1:
            raise ValueError(f"{name}: expected max_tracks of 1 or more, got {max_tracks}")
        self.name, self.max_tracks, self.resolution = name, max_tracks, Resolution(resolution)
        self.title = self.resolution.titled("CoTracker-Kubric validation")
        folder = check_found(root, needs, self.title)
        self.clips = Kubric(Storage(root, None).where(folder), split=None)
        self.protocol = {
            **tapvid_protocol(self.query_mode),
            **self.resolution.protocol,
            "tracks": f"at most {max_tracks}, spread evenly over those labelled in every frame",
            "outside_the_frame": "hidden",
            "videos": str(len(self)),
        }

    def __len__(self) -> int:
        return len(self.clips)

    def item_name(self, index: int) -> str:
        return self.clips.clips[index].folder

    def read(self, index: int) -> KubricClip:
        """A recording at the size that the tracker sees."""
        whole = self.clips[index]
        usable = whole.labelled.all(0).nonzero()[:, 0]
        if not len(usable):
            where = self.clips.storage.where(self.clips.clips[index].labels)
            raise ValueError(f"{where}: has no track that is labelled in every frame")
        spread = torch.linspace(0, len(usable) - 1, min(len(usable), self.max_tracks)).round().long()
        chosen = usable[spread]
        video = as_video([self.resolution.fit(frame) for frame in whole.video.permute(0, 2, 3, 1).numpy()])

        def fitted(xy: Tensor) -> Tensor:
            return rescale(xy, tuple(whole.video.shape[-2:]), tuple(video.shape[-2:]))

        return KubricClip(
            video=video,
            queries=Queries(xy=fitted(whole.queries.xy[chosen]), frame=whole.queries.frame[chosen]),
            tracks=fitted(whole.tracks[:, chosen]),
            visible=whole.visible[:, chosen],
            labelled=whole.labelled[:, chosen],
            located=whole.located[:, chosen],
            name=whole.name,
            tracks_left_out=whole.tracks.shape[1] - len(usable),
        )

    def score(self, item: KubricClip, answer: Tracked) -> Scores:
        """TAP-Vid's metrics, and how many tracks are not in them because their labels have gaps."""
        return {**super().score(item, answer), "tracks_left_out": float(item.tracks_left_out)}
