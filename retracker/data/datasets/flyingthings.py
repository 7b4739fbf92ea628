"""FlyingThings3D, with the trajectories of FlyingThings++ (PIPs) or with tracks chained from its flow.

    <root>/frames_cleanpass_webp/TRAIN/A/0000/left/0006.webp ... 0015.webp   (or frames_cleanpass/... .png)
    <root>/trajs_ad/TRAIN/A/0000/left/trajs_at_0.npz                         FlyingThings++
    <root>/optical_flow/TRAIN/A/0000/into_future/left/OpticalFlowIntoFuture_0006_L.pfm
    <root>/optical_flow/TRAIN/A/0000/into_past/left/OpticalFlowIntoPast_0006_L.pfm
    <root>/object_index/TRAIN/A/0000/left/0006.pfm

Pixel indices become raster pixels (+ 0.5); flow is a difference and stays as it is.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int32

from retracker.data import safe_pickle
from retracker.data.cache import DiskCache
from retracker.data.chains import Steps, chain, grid
from retracker.data.recordings import Recordings, Unusable, labelled_clip
from retracker.data.storage import Storage
from retracker.media.flow import read_pfm
from retracker.types import VideoSample

FRAMES = ("frames_cleanpass_webp", "frames_cleanpass")  # the first that is there
FRAME = re.compile(r"\d+\.(webp|png)")
TRAJECTORIES = "trajs_ad"
TRAJECTORY = re.compile(r"trajs_at_(\d+)\.npz")
TRAJECTORY_FRAMES = 8


class FlyingThings(Recordings):
    """FlyingThings++: 8 frames from one of three starts, with every point that is visible in all of them.

    ``trajs`` (8,N,2) are pixel indices in float16. They are exact in the first frame (whole numbers); after
    it rounding moves a coordinate by up to 0.06 px below 256, 0.13 px below 512, and 0.25 px beyond, and
    upstream followed the flow of the nearest pixel, not of the point. Upstream wrote None where it found
    fewer than 256 points: reading such a one raises Unusable. ``occluders_al`` is not used.
    """

    def __init__(self, root: str, split: str, sides: Sequence[str], cache: DiskCache | None = None) -> None:
        self.storage = Storage(root, cache)
        self.images = _frames_folder(self.storage)
        self.clips = [
            (f"{sequence}/{side}", int(match[1]))
            for sequence in _sequences(self.storage, TRAJECTORIES, split)
            for side in sides
            for name in self.storage.names(f"{TRAJECTORIES}/{sequence}/{side}")
            if (match := TRAJECTORY.fullmatch(name))
        ]
        if not self.clips:
            raise ValueError(
                f"{root}: has no {TRAJECTORIES}/{split}/<A>/<0000>/<{'|'.join(sides)}>/trajs_at_<0>.npz"
            )

    def __len__(self) -> int:
        return len(self.clips)

    def num_frames(self, index: int) -> int:  # noqa: ARG002
        """Eight, in every one."""
        return TRAJECTORY_FRAMES

    def scene(self, index: int) -> str:
        """The sequence, whichever side and start."""
        return str(PurePosixPath(self.clips[index][0]).parent)

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError where fewer than eight follow the start."""
        sequence, start = self.clips[index]
        folder = f"{self.images}/{sequence}"
        names = _pictures(self.storage, folder)[start : start + TRAJECTORY_FRAMES]
        if len(names) != TRAJECTORY_FRAMES:
            raise ValueError(
                f"{self.storage.where(folder)}: expected {TRAJECTORY_FRAMES} frames from the one of "
                f"index {start} on, got {len(names)}"
            )
        path = f"{TRAJECTORIES}/{sequence}/trajs_at_{start}.npz"
        trajectories = self.storage.array(path, read_trajectories, "trajs")
        if not trajectories.size:
            raise Unusable(f"{self.storage.where(path)}: holds no trajectory")
        tracks = torch.tensor(trajectories[list(frames)]).float() + 0.5
        return labelled_clip(
            self.storage.video([f"{folder}/{names[t]}" for t in frames]),
            tracks,
            torch.ones(tracks.shape[:2], dtype=torch.bool),
            name=f"flyingthings/{sequence}/{start}",
        )


class FlyingThingsFlow(Recordings):
    """Whole sequences (10 frames), with tracks chained from the flow to both ends, as long as they are sure.

    Points start on a grid of every ``spacing``-th pixel in every ``every``-th frame. Where a chain ends
    because the point goes behind something or out of the frame, that one position is located and labelled;
    what comes after is unknown. Any window reads the flow of the whole sequence.
    """

    def __init__(
        self,
        root: str,
        split: str,
        sides: Sequence[str],
        spacing: int,
        every: int,
        cache: DiskCache | None = None,
    ) -> None:
        if spacing < 1 or every < 1:
            raise ValueError(f"{root}: spacing and every must be at least 1, got {spacing} and {every}")
        self.storage = Storage(root, cache)
        self.images = _frames_folder(self.storage)
        self.spacing, self.every = spacing, every
        self.clips = [
            f"{sequence}/{side}"
            for sequence in _sequences(self.storage, self.images, split)
            for side in self.storage.names(f"{self.images}/{sequence}")
            if side in sides
        ]
        if not self.clips:
            raise ValueError(f"{root}: has no {self.images}/{split}/<A>/<0000>/<{'|'.join(sides)}>")

    def __len__(self) -> int:
        return len(self.clips)

    def num_frames(self, index: int) -> int:
        """As many as there are images."""
        return len(self._numbers(index))

    def scene(self, index: int) -> str:
        """The sequence, whichever side."""
        return str(PurePosixPath(self.clips[index]).parent)

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError where flow, objects and images differ in size."""
        folder = f"{self.images}/{self.clips[index]}"
        names = _pictures(self.storage, folder)
        video = self.storage.video([f"{folder}/{names[t]}" for t in frames])
        steps = self._steps(index, tuple(video.shape[-2:]))
        seeds = grid(steps.surface.shape[1:], self.spacing)
        starts = range(0, len(names), self.every)
        chains = chain(steps, np.tile(seeds, (len(starts), 1)), np.repeat(starts, len(seeds)))
        tracks, visible, labelled, located = (
            torch.from_numpy(part[list(frames)])
            for part in (chains.tracks, chains.visible, chains.labelled, chains.located)
        )
        return labelled_clip(
            video,
            tracks,
            visible,
            labelled=labelled,
            located=located,
            name=f"flyingthings_flow/{self.clips[index]}",
        )

    def _numbers(self, index: int) -> list[str]:
        """What the frames are called: 0006 ... 0015."""
        names = _pictures(self.storage, f"{self.images}/{self.clips[index]}")
        return [PurePosixPath(name).stem for name in names]

    def _steps(self, index: int, size: tuple[int, int]) -> Steps:
        sequence, side = self.clips[index].rsplit("/", 1)
        numbers = self._numbers(index)

        def flow(direction: str, used: Sequence[str]) -> Float32[np.ndarray, "S H W 2"]:
            folder = f"optical_flow/{sequence}/into_{direction.lower()}/{side}"
            names = [f"OpticalFlowInto{direction}_{number}_{side[0].upper()}.pfm" for number in used]
            return self._stack([f"{folder}/{name}" for name in names], read_flow, size)

        objects = [f"object_index/{self.clips[index]}/{number}.pfm" for number in numbers]
        return Steps(
            forward=flow("Future", numbers[:-1]),
            backward=flow("Past", numbers[1:]),
            surface=self._stack(objects, read_objects, size),
        )

    def _stack(
        self, paths: list[str], decode: Callable[[Path], np.ndarray], size: tuple[int, int]
    ) -> np.ndarray:
        images = [self.storage.array(path, decode, decode.__name__) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape[:2] != size:
                raise ValueError(
                    f"{self.storage.where(path)}: expected {size} (height, width) as the frames have, "
                    f"got {image.shape[:2]}"
                )
        return np.stack(images)


def read_trajectories(path: Path) -> Float16[np.ndarray, "T N 2"]:
    """The array ``trajs`` of a file of FlyingThings++, of no points where it holds None."""
    arrays = safe_pickle.load(path)
    found = arrays.get("trajs", 0) if isinstance(arrays, dict) else 0
    if found is None:
        return np.zeros((TRAJECTORY_FRAMES, 0, 2), np.float16)
    shape = np.shape(found)
    if len(shape) != 3 or (shape[0], shape[2]) != (TRAJECTORY_FRAMES, 2):
        raise ValueError(f"{path}: expected trajs of shape ({TRAJECTORY_FRAMES}, N, 2), got {shape}")
    return found.astype(np.float16, copy=False)


def read_flow(path: Path) -> Float32[np.ndarray, "H W 2"]:
    """Flow is a colour image whose third channel says nothing."""
    image = read_pfm(path)
    if image.ndim != 3:
        raise ValueError(f"{path}: expected flow (a colour image), got a grey one")
    return np.ascontiguousarray(image[..., :2])


def read_objects(path: Path) -> Int32[np.ndarray, "H W"]:
    """Which object each pixel shows, stored as a float."""
    image = read_pfm(path)
    if image.ndim != 2 or not (np.abs(image) < 2**24).all():  # False for nan
        raise ValueError(f"{path}: expected object indices (a grey image of whole numbers)")
    return image.astype(np.int32)


def _frames_folder(storage: Storage) -> str:
    found = [name for name in FRAMES if storage.exists(name)]
    if not found:
        raise ValueError(f"{storage.where('')}: has neither {' nor '.join(FRAMES)}")
    return found[0]


def _pictures(storage: Storage, folder: str) -> list[str]:
    """The names of the frames in a folder, in order; nothing else that lies there."""
    return [name for name in storage.names(folder) if FRAME.fullmatch(name)]


def _sequences(storage: Storage, folder: str, split: str) -> list[str]:
    """Such as TRAIN/A/0000."""
    return [
        f"{split}/{part}/{name}"
        for part in storage.names(f"{folder}/{split}")
        for name in storage.names(f"{folder}/{split}/{part}")
    ]
