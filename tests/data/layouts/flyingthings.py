"""FlyingThings3D's folders, and FlyingThings++'s trajectories beside them."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from layouts import Layout
from layouts.truth import Truth
from retracker.data.datasets.flyingthings import FlyingThings, FlyingThingsFlow
from retracker.data.synthetic.scene import Material, follow, front, pixel_centres
from retracker.data.synthetic.surfaces import pose
from retracker.media.flow import write_pfm
from retracker.types import VideoSample

FIRST = 6  # the number of the first frame


def write_frames(root: Path, truths: list[Truth]) -> None:
    for index, truth in enumerate(truths):
        folder = root / "frames_cleanpass_webp" / "TRAIN" / "A" / f"{index:04d}" / "left"
        folder.mkdir(parents=True)
        for t, frame in enumerate(truth.video):
            Image.fromarray(frame.permute(1, 2, 0).numpy()).save(
                folder / f"{FIRST + t:04d}.webp", lossless=True
            )


def write_trajectories(root: Path, truths: list[Truth], start: int = 0) -> None:
    """As PIPs: 8 frames, float16, pixel indices (so the centre of a pixel is a whole number)."""
    write_frames(root, truths)
    for index, truth in enumerate(truths):
        folder = root / "trajs_ad" / "TRAIN" / "A" / f"{index:04d}" / "left"
        folder.mkdir(parents=True)
        tracks = always_visible(truth).tracks[start : start + 8].numpy() - 0.5
        np.savez(folder / f"trajs_at_{start}.npz", trajs=tracks.astype(np.float16))


def write_flow(root: Path, truths: list[Truth]) -> None:
    write_frames(root, truths)
    for index, truth in enumerate(truths):
        sequence = f"TRAIN/A/{index:04d}"
        last = len(truth.video) - 1
        for t in range(last + 1):
            number = f"{FIRST + t:04d}"
            # The last frame has flow into the future, too, and the first into the past: it leads nowhere.
            for name, other in (("Future", min(t + 1, last)), ("Past", max(t - 1, 0))):
                path = f"into_{name.lower()}/left/OpticalFlowInto{name}_{number}_L.pfm"
                flow = np.concatenate(
                    [exact_flow(truth, t, other), np.zeros((*truth.depth.shape[1:], 1))], -1
                )
                write_pfm(root / "optical_flow" / sequence / path, flow.astype(np.float32))
            surface = truth.segment[t].numpy().astype(np.float32)
            write_pfm(root / "object_index" / sequence / "left" / f"{number}.pfm", surface)


def always_visible(truth: Truth) -> Truth:
    """FlyingThings++ keeps only the points that are visible in every frame."""
    kept = truth.visible.all(0)
    return replace(
        truth, tracks=truth.tracks[:, kept], visible=truth.visible[:, kept], birth=truth.birth[kept]
    )


@cache
def exact_flow(truth: Truth, source: int, target: int) -> np.ndarray:
    """Motion of what each pixel centre shows, also where it is hidden afterwards: H W 2, px."""
    x, y = pixel_centres(truth.scene)
    shape = truth.segment.shape[1:]
    start = torch.stack([x.expand(shape), y.expand(shape)], dim=-1).flatten(0, 1)
    return (positions_of(truth, source, start, target)[0] - start).unflatten(0, shape).float().numpy()


def positions_of(
    truth: Truth, source: int, xy: torch.Tensor, target: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where what is seen at ``xy`` of one frame is in another, px, and whether it is seen there."""
    scene = truth.scene
    posed = pose(scene.surfaces, scene.camera, scene.time[:, source, None])
    x, y = xy.to(scene.time.dtype)[None, None, :, None].unbind(-1)  # 1 1 N 1
    _, surface, u, v = (value[:, 0, :, 0] for value in front(posed, scene.surfaces, x, y))
    found, seen, _ = follow(scene, Material(surface=surface, u=u, v=v), scene.time[:, target, None])
    return found[0, 0], seen[0, 0]


def of_the_chains(truth: Truth, sample: VideoSample) -> Truth:
    """The true course of the points that a reader chained; where it says nothing, nothing is asked."""
    tracks, seen = torch.zeros_like(sample.tracks), torch.zeros_like(sample.visible)
    for frame in sample.queries.frame.unique().tolist():
        born = sample.queries.frame == frame
        for t in range(len(tracks)):
            xy, visible = positions_of(truth, frame, sample.queries.xy[born], t)
            tracks[t, born], seen[t, born] = xy.float(), visible
    return replace(truth, tracks=tracks, visible=torch.where(sample.labelled, seen, sample.visible))


PLUS = Layout(
    config="flyingthings",
    write=write_trajectories,
    open=lambda root: FlyingThings(str(root), split="TRAIN", sides=["left"]),
    tolerance=0.045,  # float16 between 64 and 128 px: half a step of 1/16 px in x and in y
    a_file=lambda root: root / "trajs_ad" / "TRAIN" / "A" / "0000" / "left" / "trajs_at_0.npz",
    truth_of=lambda truth, _: always_visible(truth),
)
FLOW = Layout(
    config="flyingthings_flow",
    write=write_flow,
    open=lambda root: FlyingThingsFlow(str(root), split="TRAIN", sides=["left"], spacing=4, every=3),
    tolerance=0.35,  # 0.05 px for each of up to seven steps: flow bends between the pixels it is known at
    a_file=lambda root: (
        root / "optical_flow/TRAIN/A/0000/into_past/left" / f"OpticalFlowIntoPast_{FIRST + 3:04d}_L.pfm"
    ),
    truth_of=of_the_chains,
)
