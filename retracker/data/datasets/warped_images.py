"""Any folder of images or videos as a source of clips: one picture each, warped along a smooth random path.

    <root>/**/*.jpg  *.png ...  *.mp4 ...     (of a video, one frame is used)

No depth is needed, and labels are exact: where a frame shows a point of the picture is solved for.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8
from torch.utils.data import Dataset

from retracker.data.augment import Transform
from retracker.data.cache import DiskCache
from retracker.data.datasets.frames import VIDEOS
from retracker.data.picture_warps import Warping, draw_tracks, draw_warp, flow_between, render
from retracker.data.recordings import labelled_clip
from retracker.data.storage import Storage
from retracker.media.image import read_frame
from retracker.media.video import count_frames, read_frames
from retracker.types import VideoSample

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
FURTHEST = 200  # frames into a video: all before the one that is used must be decoded
WARPS = 2  # these clips have a generator of their own, not the mixture's of the same position


class WarpedImages(Dataset[VideoSample]):
    """``length`` clips of square frames, the n-th a pure function of the seed, n and the files' names.

    The two frames of a pair are each warped on their own; a longer clip starts with the picture as it is.
    ``looks`` may change colours. Raises ValueError if there is no picture under ``root``; reading raises
    OSError or ValueError, naming the file, and Unusable where no point is ever visible.
    """

    def __init__(  # noqa: PLR0913  a yaml's keys, one for one
        self,
        root: str,
        length: int,
        num_frames: int,
        num_points: int,
        size: int,
        seed: int,
        warping: Warping,
        looks: Transform,
        *,
        dense_flow: bool,
        cache: DiskCache | None = None,
    ) -> None:
        if length < 1 or num_frames < 2 or num_points < 1 or size < 1:
            raise ValueError(
                "warped images need a length, num_points and size of at least 1 and 2 frames, "
                f"got {length}, {num_points}, {size} and {num_frames}"
            )
        self.storage = Storage(root, cache)
        self.files = list(find_files(self.storage))
        if not self.files:
            raise ValueError(f"{root}: has no image ({' '.join(IMAGES)}) and no video ({' '.join(VIDEOS)})")
        self.length, self.num_frames, self.num_points, self.size = length, num_frames, num_points, size
        self.seed, self.warping, self.looks, self.dense_flow = seed, warping, looks, dense_flow

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> VideoSample:
        if not 0 <= index < self.length:
            raise IndexError(f"clip {index} of {self.length} clips of warped images")
        rng = np.random.default_rng((self.seed, index, 0, WARPS))
        path = self.files[rng.integers(len(self.files))]
        picture = self._picture(path, rng)
        size = (picture.shape[0], picture.shape[1])
        warp = draw_warp(size, self.num_frames, self.warping, rng)
        tracks, located = draw_tracks(warp, size, self.num_points, rng)
        sample = labelled_clip(
            render(picture, warp, self.size),
            tracks * self.size,
            located,
            located=located,
            name=f"warped_images/{path}#{index}",
        )
        flow = flow_between(warp, size, self.size) if self.dense_flow else None
        return self.looks(replace(sample, flow=flow), rng)

    def _picture(self, path: str, rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
        if path.lower().endswith(IMAGES):
            return self.storage.array(path, read_frame, "rgb")
        index = int(rng.integers(min(FURTHEST, self.storage.load(path, count_frames))))
        return self.storage.array(path, partial(_read_video_frame, index=index), f"rgb of frame {index}")


def _read_video_frame(path: Path, index: int) -> UInt8[np.ndarray, "H W 3"]:
    return read_frames(path, [index])[0].permute(1, 2, 0).contiguous().numpy()


def find_files(storage: Storage, folder: str = "") -> Iterator[str]:
    """Every image and video below ``folder``."""
    for name in storage.names(folder):
        path = f"{folder}/{name}".lstrip("/")
        if name.startswith("."):
            continue
        if name.lower().endswith(IMAGES + VIDEOS):
            yield path
        elif not PurePosixPath(name).suffix or storage.names(path):
            yield from find_files(storage, path)
