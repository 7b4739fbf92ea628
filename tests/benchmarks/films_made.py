"""Benchmarks of films as their yamls say, on trees of rendered clips; truth that answers; random clips."""

from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from layouts.truth import rendered
from omegaconf import OmegaConf

from retracker.benchmarks.protocol import Tracked
from retracker.types import Queries, VideoSample

CONFIGS = Path(__file__).parents[2] / "configs" / "benchmark"


def opened(name, data_root, **changed):
    """A benchmark with the settings of its yaml, but for those that are changed."""
    settings = OmegaConf.load(CONFIGS / f"{name}.yaml")
    whole = OmegaConf.create({"data_root": str(data_root), "benchmark": OmegaConf.merge(settings, changed)})
    try:
        return instantiate(whole.benchmark)
    except InstantiationException as error:
        raise error.__cause__ from None


def films(num_frames=16):
    """Two films in which points are hidden, and leave the frame."""
    return [rendered(seed, num_frames=num_frames, difficulty="hard") for seed in (7, 10)]


def oracle(item):
    """A tracker that knows one clip."""

    def track(video, queries):
        assert len(video) == len(item.tracks) and len(queries) == item.tracks.shape[1]
        return Tracked(tracks=item.tracks.clone(), visible=item.visible, confidence=item.visible.float())

    return track


def random_clip(seed, *, kind=VideoSample, height=60, width=90, num_frames=40, num_points=9, **masks):
    """A clip of random labels, and a random answer that is more or less wrong; no picture in it."""
    generator = torch.Generator().manual_seed(seed)

    def chance(probability):
        return torch.rand(num_frames, num_points, generator=generator) < probability

    tracks = torch.rand(num_frames, num_points, 2, generator=generator) * torch.tensor([width, height])
    labels = {"visible": chance(0.7), "labelled": chance(0.8), "located": chance(0.8)}
    labels |= {name: chance(probability) for name, probability in masks.items()}
    item = kind(
        video=torch.zeros(num_frames, 3, height, width, dtype=torch.uint8),
        queries=Queries(xy=tracks[0], frame=torch.zeros(num_points, dtype=torch.long)),
        tracks=tracks,
        name=f"random/{seed}",
        **labels,
    )
    off = (
        torch.randn(num_frames, num_points, 2, generator=generator)
        * torch.logspace(-2, 1, num_points)[:, None]
    )
    answer = Tracked(tracks=tracks + off, visible=chance(0.7), confidence=torch.ones(num_frames, num_points))
    return item, answer


def masked_mean(values, mask):
    """As the official evaluators take it, in single precision, with what keeps it from dividing by 0."""
    values, mask = values.float(), mask.float()
    return ((values * mask).sum() / (1e-6 + mask.sum())).item()
