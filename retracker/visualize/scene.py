"""Tracks as they are drawn: everything that a colouring may look at."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from retracker.visualize.camera_motion import CameraMotion

FASTEST_SHARE = 95  # percentile of all motions: this and what is beyond has a full colour
SLOWEST_FULL = 0.5  # px: smaller motions are errors of the tracker, and stay pale


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One set of tracks in the px of the picture that is drawn."""

    tracks: Float[np.ndarray, "T N 2"]
    visible: Bool[np.ndarray, "T N"]
    first: Int[np.ndarray, " N"]  # the frame each point is born in
    anchors: Float[np.ndarray, "N 2"]  # where each point's own colour comes from
    zoom: int  # how many px of the picture a px of the video takes
    confidence: Float[np.ndarray, "T N"] | None = None
    camera: CameraMotion | None = None  # None: what moves with the camera moves

    @cached_property
    def step(self) -> Float[np.ndarray, "T N 2"]:
        """How far each point goes from a frame to the next, px; 0 before its birth.

        Nothing follows the last frame, which repeats the step to it.
        """
        steps = np.zeros_like(self.tracks)
        for t in range(len(self.tracks) - 1):
            steps[t] = self.tracks[t + 1] - self.brought(t, t + 1)
            steps[t, self.first > t] = 0
        return np.concatenate([steps[:-1], steps[-2:-1]]) if len(steps) > 1 else steps

    @cached_property
    def travel(self) -> Float[np.ndarray, "T N 2"]:
        """How far each point has gone since its birth, px; 0 before it."""
        birth = self.first.clip(0, len(self.tracks) - 1)
        home = self.tracks[birth, np.arange(len(birth))]
        paths = self.tracks - home
        if self.camera is not None:
            for t in range(len(self.tracks)):
                for born in np.unique(birth[birth < t]).tolist():
                    points = birth == born
                    paths[t, points] = self.tracks[t, points] - self.camera.bring(home[points], born, t)
        paths[np.arange(len(paths))[:, None] < self.first] = 0
        return paths

    @cached_property
    def fastest_step(self) -> float:
        """The speed (px a frame) that gets the full colour."""
        return _longest(self.step[self.visible])

    @cached_property
    def longest_travel(self) -> float:
        """The distance (px) that gets the full colour."""
        return _longest(self.travel[self.visible])

    def brought(self, source: int, target: int) -> Float[np.ndarray, "N 2"]:
        """The points of one frame where they would lie in another had only the camera moved."""
        points = self.tracks[source]
        return points if self.camera is None else self.camera.bring(points, source, target)


def scene_of(
    tracks: Float[Tensor, "T N 2"],
    visible: Bool[Tensor, "T N"],
    first_frame: Int[Tensor, " N"] | None,
    confidence: Float[Tensor, "T N"] | None,
    anchors: Float[Tensor, "N 2"] | None,
    *,
    zoom: int,
    compensate: bool,
) -> Scene:
    """The scene of tracks in the px of a video that is drawn ``zoom`` times as large."""
    first = torch.zeros(tracks.shape[1], dtype=torch.long) if first_frame is None else first_frame
    first = first.detach().cpu().numpy()
    if anchors is None:
        birth = first.clip(0, max(0, len(tracks) - 1))
        anchors = tracks[birth, np.arange(len(birth))] if len(tracks) else tracks.new_zeros(0, 2)
    places = zoom * tracks.detach().cpu().double().numpy()
    seen = visible.detach().cpu().numpy() & (first <= np.arange(len(tracks))[:, None])
    return Scene(
        tracks=places,
        visible=seen,
        first=first,
        anchors=zoom * anchors.detach().cpu().double().numpy(),
        zoom=zoom,
        confidence=None if confidence is None else confidence.detach().cpu().double().numpy(),
        camera=CameraMotion(places, seen, unit=zoom) if compensate else None,
    )


def _longest(motion: Float[np.ndarray, "n 2"]) -> float:
    length = np.hypot(*motion.T)
    return float(max(SLOWEST_FULL, np.percentile(length, FASTEST_SHARE) if length.size else 0.0))
