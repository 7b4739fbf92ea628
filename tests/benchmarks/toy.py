"""A benchmark of small clips made by hand, and trackers whose scores are known."""

import torch

from retracker.benchmarks.protocol import Contestant, Tracked
from retracker.benchmarks.tracking import TrackBenchmark
from retracker.types import Queries, VideoSample


def clip(tracks, visible, *, name="toy/0", size=256):
    """A black clip of one point per column of ``tracks`` (T N 2), each queried in frame 0."""
    tracks, visible = torch.as_tensor(tracks, dtype=torch.float32), torch.as_tensor(visible)
    known = torch.ones_like(visible)
    return VideoSample(
        video=torch.zeros(len(tracks), 3, size, size, dtype=torch.uint8),
        queries=Queries(xy=tracks[0], frame=torch.zeros(tracks.shape[1], dtype=torch.long)),
        tracks=tracks,
        visible=visible,
        labelled=known,
        located=known,
        name=name,
    )


def drift(pixels_per_frame, num_frames=4, **options):
    """Two visible points that move to the right."""
    tracks = [[[10.0 + pixels_per_frame * t, 20.0], [30.0, 40.0]] for t in range(num_frames)]
    return clip(tracks, [[True, True]] * num_frames, **options)


class Toy(TrackBenchmark):
    """Clips given one by one; counts how often each is read."""

    def __init__(self, clips, groups=None, query_mode="first"):
        self.name, self.title, self.protocol = "toy", "Toy", {"query_mode": query_mode}
        self.query_mode, self.clips, self.groups, self.reads = query_mode, clips, groups, []

    def __len__(self):
        return len(self.clips)

    def item_name(self, index):
        return self.clips[index].name

    def group(self, index):
        return self.groups[index] if self.groups else super().group(index)

    def read(self, index):
        self.reads.append(index)
        return self.clips[index]


def stays(video, queries):
    """Where it was asked for, visible, in every frame."""
    tracks = queries[None, :, 1:].repeat(len(video), 1, 1)
    shown = torch.ones(tracks.shape[:2], dtype=torch.bool)
    return Tracked(tracks=tracks, visible=shown, confidence=shown.float())


def leans(video, queries):
    """Every point is drawn towards the others: what the benchmark forbids."""
    alone = stays(video, queries)
    return Tracked(
        tracks=0.9 * alone.tracks + 0.1 * alone.tracks.mean(1, keepdim=True),
        visible=alone.visible,
        confidence=alone.confidence,
    )


def contestant(method=stays, name="stays", **settings):
    return Contestant(name=name, method=method, settings=settings)
