"""From seeds to samples: clips are drawn one by one and rendered together."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from retracker.data.synthetic.clip import Clip, draw_clip
from retracker.data.synthetic.raster import draw
from retracker.data.synthetic.scene import Scene, flow_between
from retracker.data.synthetic.settings import ClipSettings
from retracker.types import DenseFlow, VideoSample


def render(seeds: Sequence[int], settings: ClipSettings, device: torch.device | str = "cpu") -> VideoSample:
    """One clip per seed as a batch. A clip's bytes depend on its seed and the settings alone."""
    clip = join([draw_clip(seed, settings) for seed in seeds])
    scene = clip.scene.to(device)
    labelled = torch.ones_like(clip.visible)
    return VideoSample(
        video=draw(scene),
        queries=clip.queries.to(device),
        tracks=clip.tracks.to(device),
        visible=clip.visible.to(device),
        labelled=labelled.to(device),
        located=labelled.to(device),
        name=tuple(f"synthetic/{settings.difficulty}-{seed}" for seed in seeds),
        flow=_flow(scene) if settings.dense_flow else None,
    )


def join(clips: Sequence[Clip]) -> Clip:
    """Put clips of equal settings together along B; those with fewer surfaces are given absent ones."""
    count = max(clip.scene.surfaces.present.shape[1] for clip in clips)
    padded = [replace(clip, scene=_padded(clip.scene, count)) for clip in clips]
    return padded[0].map(lambda *values: torch.cat(values), *padded[1:])


def _padded(scene: Scene, count: int) -> Scene:
    """Repeat the wall as an absent surface until there are ``count``."""
    missing = count - scene.surfaces.present.shape[1]
    if missing == 0:
        return scene
    surfaces = scene.surfaces.map(
        lambda value: torch.cat([value, value[:, :1].expand(-1, missing, *value.shape[2:])], 1)
    )
    present = surfaces.present.clone()
    present[:, count - missing :] = False
    return replace(scene, surfaces=replace(surfaces, present=present))


def _flow(scene: Scene) -> DenseFlow:
    frames = [flow_between(scene, 0, target) for target in range(scene.time.shape[1])]
    flow = frames[0].map(lambda *values: torch.stack(values, dim=1), *frames[1:])
    return replace(flow, displacement=flow.displacement.float())
