"""Films in, labelled clips out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.geometry.coords import rescale
from retracker.inference.frames import finest_size, resize
from retracker.labelling.agreement import Agreement, Labels, agree
from retracker.labelling.cutting import Clip, Cutting, cut_film, stacked
from retracker.labelling.folder import PARTS, Film, LabelFolder
from retracker.labelling.query_points import choose_queries
from retracker.labelling.testimony import Checks, Teacher, scale_256, testify
from retracker.media.sources import FrameSource, TimedFrame, as_source
from retracker.media.video import count_frames

Progress = Callable[[], None]  # called after every clip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How films become labelled clips."""

    cutting: Cutting
    points: int  # asked for in each clip
    most_clips: int | None  # of each part of a film, spread evenly over it; None: all
    max_size: int  # px: the longer side of frames as teachers see them; smaller ones stay as they are
    size: int  # px: the side of a square with as many pixels as a stored clip; smaller ones stay as they are
    least_points: int  # a clip with fewer is not kept
    held_out: float  # share of each film, at its end, that is kept for validation
    checks: Checks
    agreement: Agreement
    seed: int

    def __post_init__(self) -> None:
        if min(self.points, self.max_size, self.size, self.least_points, self.most_clips or 1) < 1:
            raise ValueError("points, clips, max_size, size and least_points must be at least 1")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out: expected a share from 0 to below 1, got {self.held_out}")


class Labeller:
    """Cuts films into clips and writes those that its teachers can label; what is done is not done again."""

    def __init__(self, teachers: Mapping[str, Teacher], recipe: Recipe, folder: LabelFolder) -> None:
        if recipe.agreement.quorum > len(teachers):
            raise ValueError(
                f"quorum: {recipe.agreement.quorum} teachers cannot agree where there are {len(teachers)}"
            )
        self.teachers, self.recipe, self.folder = dict(teachers), recipe, folder

    def label(self, film: Film, progress: Progress) -> None:
        """Label a film. Raises ValueError or OSError where it is damaged; clips before that are kept."""
        if self.folder.is_done(film):
            return
        source, recipe = as_source(film.path), self.recipe
        total = source.declared() if film.path.is_dir() else count_frames(film.path) or None
        border = None if total is None else round((1 - recipe.held_out) * total)
        borders = frozenset() if border is None else frozenset({border})
        frames = map(partial(_shrunk, most=recipe.max_size), source.timed())
        taken = {part: 0 for part in PARTS}
        for clip in cut_film(frames, recipe.cutting, borders):
            part = PARTS[border is not None and clip.first >= border]
            spacing = self._spacing(total, border, part)
            due = taken[part] * spacing <= clip.first - (border if part == PARTS[1] else 0)
            if recipe.most_clips is not None and (taken[part] >= recipe.most_clips or not due):
                continue
            taken[part] += not clip.worth
            if not self.folder.has(film, part, clip.first):
                self.folder.note(film, part, clip.first, self._dealt_with(film, part, clip, source))
            progress()
        self.folder.finish(film, {"film": film.path.name, "frames": total})

    def _spacing(self, total: int | None, border: int | None, part: str) -> float:
        """Frames from one clip that is taken to the next, at least, where not all are."""
        most = self.recipe.most_clips
        if most is None or total is None or border is None:
            return 0.0
        return (border if part == PARTS[0] else total - border) / most

    def _dealt_with(self, film: Film, part: str, clip: Clip, source: FrameSource) -> dict:
        """Label a clip and write it, if it is worth it; the record of what came of it."""
        record = {"film": film.path.name, "first": clip.first, "frames": len(clip.frames)}
        if clip.worth:
            return record | {"outcome": clip.worth}
        video = stacked(clip)
        labels, told = self.labels_of(
            video, np.random.default_rng((self.recipe.seed, film.number, clip.first))
        )
        record |= told
        if labels.tracks.shape[1] < self.recipe.least_points:
            return record | {"outcome": "too few points"}
        small, labels = stored(video, labels, self.recipe.size)
        self.folder.save(film, part, clip.first, (small, source.fps), labels)
        return record | {"outcome": "kept"}

    def labels_of(
        self, video: UInt8[Tensor, "T 3 H W"], rng: np.random.Generator
    ) -> tuple[Labels, dict[str, object]]:
        """Choose points of a clip and label them; also how many were asked for and kept, and why others fell.

        Points that are never located are left out.
        """
        queries = choose_queries(video, self.recipe.points, rng)
        if not len(queries):
            nowhere = torch.zeros(len(video), 0, dtype=torch.bool)
            none = Labels(
                tracks=torch.zeros(len(video), 0, 2), visible=nowhere, labelled=nowhere, located=nowhere
            )
            return none, {"points": 0, "kept points": 0, "places": {}}
        testimonies = [testify(t, video, queries, self.recipe.checks) for t in self.teachers.values()]
        labels, fates = agree(testimonies, self.recipe.agreement, scale_256(video))
        kept = labels.located.any(0)
        told = {"points": len(queries), "kept points": int(kept.sum()), "places": fates}
        return labels.map(lambda x: x[:, kept]), told


def stored(
    video: UInt8[Tensor, "T 3 H W"], labels: Labels, size: int
) -> tuple[UInt8[Tensor, "T 3 h w"], Labels]:
    """A clip and its labels as they are stored: of even sides, about ``size`` ** 2 px, never enlarged."""
    height, width = video.shape[-2:]
    scale = min(1.0, size / (height * width) ** 0.5)
    small = tuple(max(2, round(scale * side / 2) * 2) if scale < 1 else side for side in (height, width))
    frames = torch.stack([resize(frame, small) for frame in video])
    return frames, replace(labels, tracks=rescale(labels.tracks, (height, width), small))


def _shrunk(item: TimedFrame, most: int) -> TimedFrame:
    time, frame = item
    return time, resize(frame, finest_size(tuple(frame.shape[-2:]), most))
