"""Dynamic Replica: animals and people in rendered rooms, the vertices of whose surfaces are the points.

    <root>/<split>/frame_annotations_<split>.jgz     gzipped JSON: a list of frames, each with sequence_name,
                                                     frame_number, camera_name, trajectories {path}
    <root>/<split>/<seq>/trajectories/000000.pth     a dict of img (H,W,3), traj_2d (N,3), verts_inds_vis (N)

Coordinates are taken as raster pixels. The script that projected them is not public, but the cameras are
PyTorch3D's, whose pictures reach from corner to corner, and no reader corrects them by half a pixel.
``verts_inds_vis`` is true where a point is visible. Other keys (traj_3d_world, instances) are ignored.
"""

import gzip
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from retracker.data.cache import DiskCache
from retracker.data.recordings import Recordings, labelled_clip
from retracker.data.safe_pickle import BROKEN
from retracker.data.storage import Storage
from retracker.media.files import existing_file
from retracker.media.image import as_video
from retracker.types import VideoSample

KEPT = {"sequence_name", "frame_number", "camera_name", "trajectories", "path"}  # of an entry
CHUNK = 1 << 20  # characters; the whole text has hundreds of millions
LONGEST = 16 * CHUNK  # that an entry may reasonably be
BETWEEN = re.compile(r"[\s,\[]*")  # what stands before an entry of the list


@dataclass(frozen=True)
class Film:
    """One sequence as one camera sees it."""

    name: str
    files: np.ndarray  # T, bytes: a hundred thousand separate strings would weigh on every worker


class DynamicReplica(Recordings):
    """What one camera sees of the sequences of a split whose folders are there: the set comes in many parts.

    Raises ValueError if there is none, or no trajectories for that camera.
    """

    def __init__(self, root: str, split: str, camera: str, cache: DiskCache | None = None) -> None:
        self.storage, self.split = Storage(root, cache), split
        listing = f"{split}/frame_annotations_{split}.jgz"
        films = _films(self.storage.array(listing, partial(_listed, camera=camera), f"camera {camera}"))
        self.num_listed = len(films)  # sequences, also those whose folders are not there
        there = set(self.storage.names(split))
        self.films = [film for film in films if _folder(film) in there]
        if not self.films:
            raise ValueError(
                f"{self.storage.where(split)}: has none of the {len(films)} sequences of camera {camera!r} "
                f"that {Path(listing).name} lists"
            )

    def __len__(self) -> int:
        return len(self.films)

    def num_frames(self, index: int) -> int:
        """As many as are listed."""
        return len(self.films[index].files)

    def read(self, index: int, frames: Sequence[int]) -> VideoSample:
        """The given frames. Raises ValueError if they differ in size or in the number of points."""
        video, known = self.stored(index, frames)
        return labelled_clip(
            video,
            torch.from_numpy(known[..., :2]),
            torch.from_numpy(known[..., 2] > 0.5),
            name=f"dynamic_replica/{self.split}/{self.films[index].name}",
        )

    def stored(
        self, index: int, frames: Sequence[int]
    ) -> tuple[UInt8[Tensor, "T 3 H W"], Float[np.ndarray, "T N 3"]]:
        """Frames as they are stored, with x, y and visibility (0 or 1) of every point, also of those that lie
        outside or are never visible. Raises what ``read`` raises."""
        files = [f"{self.split}/{self.films[index].files[t].decode()}" for t in frames]
        images, labels = zip(*[self.storage.load(file, _frame) for file in files], strict=True)
        self._check_alike(files, images, "img")  # H W 3
        self._check_alike(files, labels, "labels")  # N 3
        return as_video(list(images)), np.stack(labels)

    def _check_alike(self, files: list[str], arrays: Sequence[np.ndarray], label: str) -> None:
        for file, array in zip(files, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise ValueError(
                    f"{self.storage.where(file)}: {label} of shape {array.shape}, "
                    f"expected {arrays[0].shape} as in {Path(files[0]).name}"
                )


def _films(listed: np.ndarray) -> list[Film]:
    names, starts = np.unique(listed[:, 0], return_index=True)
    files = np.split(listed[:, 1], starts[1:])
    return [Film(name.decode(), part) for name, part in zip(names, files, strict=True)]


def _listed(path: Path, camera: str) -> np.ndarray:
    """Sequence and file of trajectories of every frame of a camera, in order, as bytes."""
    try:
        found = sorted(
            (entry["sequence_name"].encode(), entry["frame_number"], entry["trajectories"]["path"].encode())
            for entry in _entries(existing_file(path))
            if entry["camera_name"] == camera and entry.get("trajectories")
        )
    except (
        AttributeError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path}: cannot be read as a gzipped list of frames ({error!r:.80})") from error
    if not found:
        raise ValueError(f"{path}: lists no trajectories of camera {camera!r}")
    return np.array([(name, file) for name, _, file in found])


def _entries(path: Path) -> Iterator[dict]:
    """The entries of a JSON list, without holding more of it than some text and one entry."""
    decoder = json.JSONDecoder(object_hook=_pruned)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        text, start = "", 0
        while True:
            start = BETWEEN.match(text, start).end()
            try:
                entry, start = decoder.raw_decode(text, start)
            except json.JSONDecodeError:  # perhaps it goes on
                more = file.read(CHUNK)
                text, start = text[start:] + more, 0
                if not more and text.strip() == "]":
                    return
                if not more or len(text) > LONGEST:
                    raise
                continue
            yield entry


def _pruned(entry: dict) -> dict:
    return {key: entry[key] for key in KEPT & entry.keys()}


def _folder(film: Film) -> str:
    return film.files[0].decode().split("/")[0]


def _frame(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The image (H,W,3), and of every point x, y and whether it is visible (N,3)."""
    frame = _tensors(path)
    seen = frame["verts_inds_vis"][:, None].float()
    return frame["img"].numpy(), torch.cat([frame["traj_2d"][:, :2].float(), seen], -1).numpy()


def _tensors(path: Path) -> dict[str, Tensor]:
    """What is known of one frame, mapped from the file: what is not looked at is not read."""
    if path.exists() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: cannot be read as a file of tensors")
    try:
        frame = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        image, points = frame["img"], frame["traj_2d"]
        if image.dtype != torch.uint8 or image.shape[2:] != (3,):
            raise ValueError(f"expected img (H,W,3) of uint8, got {tuple(image.shape)} of {image.dtype}")
        if points.shape[1:] not in ((2,), (3,)) or frame["verts_inds_vis"].shape != points.shape[:1]:
            raise ValueError(
                "expected traj_2d (N,3) and verts_inds_vis (N), "
                f"got {tuple(points.shape)} and {tuple(frame['verts_inds_vis'].shape)}"
            )
    except BROKEN as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: cannot be read as the trajectories of a frame ({reason})") from error
    return frame
