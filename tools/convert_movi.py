"""python tools/convert_movi.py movi_e/256x256 data/movi_e: MOVi-E, MOVi-F or panning MOVi-E, with tracks.

MOVi comes as a TensorFlow data set without tracks. This reads it once, derives tracks (see
retracker/data/movi_tracks.py) and writes what `dataset=movi_e` and its like read, without TensorFlow:

    <out>/<split>/00000/000.png ...  <out>/<split>/00000.npz

Stopped and started again it goes on with the clips that are missing. Needs tensorflow and
tensorflow_datasets.
"""

import argparse
import importlib
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from retracker.data.movi_tracks import MoviClip, derive_tracks
from retracker.media.files import replacing
from retracker.media.image import write_image

PUBLIC = "gs://kubric-public/tfds"
RENDERED = {"movi_e": 256, "panning_movi_e": 256, "movi_f": 512}  # px; smaller sets are made of these
CHUNK = 16  # clips that one process takes at a time
FEATURES = {  # what is decoded of an example
    "video": True,
    "segmentations": True,
    "depth": True,
    "normal": True,
    "object_coordinates": True,
    "metadata": {"depth_range": True},
    "camera": {"focal_length": True, "sensor_width": True, "positions": True, "quaternions": True},
    "instances": {"bboxes_3d": True, "quaternions": True},
}


class Missing(RuntimeError):
    """TensorFlow or the data set is not there."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Some clips, one after the other, and what to make of them."""

    name: str  # such as movi_e/256x256
    source: str  # the folder or bucket of TensorFlow data sets
    split: str
    out: Path
    points: int  # at most, of each clip
    seed: int
    first: int
    count: int

    @property
    def folder(self) -> Path:
        return self.out / self.split


def main(argv: list[str] | None = None) -> int:
    """Convert what is not converted yet; returns the exit code."""
    wish = parse(argv)
    limit = wish.pop("limit")
    workers = wish.pop("workers")
    job = Job(**wish, first=0, count=0)
    try:
        total = count_clips(job)
        wanted = total if limit is None else min(total, limit)
        jobs = [replace(job, first=first, count=count) for first, count in gaps(job.folder, wanted)]
        there = wanted - sum(run.count for run in jobs)
        say(f"{job.folder}: {there} of {wanted} clips are there already ({total} in the split)")
        found: list[int] = []
        for counts in done(jobs, workers):
            found += counts
            say(f"{there + len(found)} of {wanted} clips")
    except (Missing, ValueError, OSError) as error:
        sys.stderr.write(f"convert_movi: {error}\n")
        return 2
    say(f"{job.folder}: {len(found)} clips written, {sum(found) / max(len(found), 1):.0f} points in each")
    return 0


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def parse(argv: list[str] | None) -> dict[str, object]:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="movi_e/256x256, movi_f/512x512, movi_f/256x256, panning_movi_e/256x256")
    parser.add_argument("out", type=Path, help="the folder to write to, such as data/movi_e")
    parser.add_argument("--source", default=PUBLIC, help="folder or bucket that holds it (%(default)s)")
    parser.add_argument("--split", default="train", help="train, validation or test (%(default)s)")
    parser.add_argument("--limit", type=whole, help="the first so many clips of the split (all)")
    parser.add_argument("--points", type=whole, default=2048, help="at most, in each clip (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of points (%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: this one (%(default)s)")
    return vars(parser.parse_args(argv))


def whole(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def gaps(folder: Path, wanted: int) -> list[tuple[int, int]]:
    """(first, count) of runs of clips that are not finished, at most CHUNK long."""
    there = {path.stem for path in folder.glob("*.npz")} if folder.is_dir() else set()
    runs: list[tuple[int, int]] = []
    for index in range(wanted):
        if clip_name(index) in there:
            continue
        first, count = runs[-1] if runs else (-1, 0)
        if first + count == index and count < CHUNK:
            runs[-1] = (first, count + 1)
        else:
            runs.append((index, 1))
    return runs


def done(jobs: list[Job], workers: int) -> Iterator[list[int]]:
    """The number of points of each clip of a job, job by job as they are finished."""
    if not workers:
        yield from map(convert, jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(convert, job) for job in jobs]
        try:
            yield from (future.result() for future in as_completed(running))
        finally:
            pool.shutdown(cancel_futures=True)


def convert(job: Job) -> list[int]:
    """Write the clips of a job; how many points each has."""
    found = []
    for index, example in enumerate(examples(job), start=job.first):
        clip = clip_of(example, job.name)
        # The clip's own number draws its points: neither workers nor restarts change them.
        tracks, visible = derive_tracks(clip, job.points, np.random.default_rng((job.seed, index)))
        write_clip(job.folder / clip_name(index), clip.video, tracks, visible)
        found.append(tracks.shape[1])
    return found


def clip_name(index: int) -> str:
    return f"{index:05d}"


def clip_of(example: Mapping, name: str) -> MoviClip:
    """What is needed of an example of TensorFlow's, as numpy."""
    camera, objects = example["camera"], example["instances"]
    return MoviClip(
        video=example["video"],
        segments=example["segmentations"][..., 0],
        depth=example["depth"][..., 0],
        depth_range=np.asarray(example["metadata"]["depth_range"], np.float32),
        coordinates=example["object_coordinates"],
        normals=example["normal"],
        boxes=objects["bboxes_3d"],
        turns=objects["quaternions"],
        camera_xyz=camera["positions"],
        camera_turn=camera["quaternions"],
        focal=float(camera["focal_length"]) / float(camera["sensor_width"]),
        sample=label_centre(name, example["video"].shape[2]),
    )


def label_centre(name: str, width: int) -> float:
    """Where in its pixel a label was taken: smaller sets average the frames, but keep one label of each."""
    rendered = RENDERED.get(name.split("/")[0], width)
    if rendered % width:
        raise ValueError(f"{name}: expected frames {rendered} px wide, or a whole part of it, got {width}")
    step = rendered // width
    return ((step - 1) // 2 + 0.5) / step


def write_clip(path: Path, video: np.ndarray, tracks: np.ndarray, visible: np.ndarray) -> None:
    """A folder of frames, and at the end the labels: a clip that has them is finished."""
    for index, frame in enumerate(video):
        write_image(path / f"{index:03d}.png", torch.from_numpy(frame).permute(2, 0, 1))
    with replacing(path.with_suffix(".npz")) as partial:
        np.savez(partial, tracks=tracks, visible=visible)


def count_clips(job: Job) -> int:
    splits = open_builder(job).info.splits
    if job.split not in splits:
        raise ValueError(f"{job.name}: has no split {job.split!r}, only {', '.join(splits) or 'none'}")
    return splits[job.split].num_examples


def examples(job: Job) -> Iterator[Mapping]:
    """The clips of a job, decoded, as numpy."""
    builder, tfds = open_builder(job), imported("tensorflow_datasets")
    with named(job):
        clips = builder.as_dataset(
            split=f"{job.split}[{job.first}:{job.first + job.count}]",
            shuffle_files=False,
            decoders=tfds.decode.PartialDecoding(FEATURES),
            # One file after the other: the n-th clip is the same one in every run.
            read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
        )
        yield from tfds.as_numpy(clips)


def open_builder(job: Job) -> Any:
    tfds = imported("tensorflow_datasets")
    with named(job):
        return tfds.builder(job.name, data_dir=job.source)


@contextmanager
def named(job: Job) -> Iterator[None]:
    """TensorFlow's own errors, as one line that says where."""
    tensorflow, tfds = imported("tensorflow"), imported("tensorflow_datasets")
    try:
        yield
    except tfds.core.DatasetNotFoundError as error:
        raise Missing(f"{job.source}: has no data set {job.name}/<version>") from error
    except tensorflow.errors.OpError as error:
        raise Missing(f"{job.source}/{job.name}: cannot be read: {error.message.splitlines()[0]}") from error


def imported(name: str) -> ModuleType:
    """TensorFlow is needed here and nowhere else, so it is imported only when something is read."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Missing(f"needs {name} (pip install tensorflow tensorflow_datasets): {error}") from error


if __name__ == "__main__":
    sys.exit(main())
