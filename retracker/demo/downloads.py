"""What a person takes home: the tracks as npz or csv, or drawn onto the video."""

from itertools import islice
from pathlib import Path
from secrets import token_hex

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from retracker.demo.points import Answers, Point
from retracker.demo.refusal import ABSENT, BUSY, Refusal, calling
from retracker.demo.session import Clip, Session
from retracker.media.track_files import write_tracks_csv, write_tracks_npz
from retracker.media.video import VideoWriter, iterate_video
from retracker.types import TrackResult
from retracker.visualize.tracks import TrackPainter

FORMATS = ("npz", "csv", "mp4")


def write_download(session: Session, kind: str) -> Path:
    """A new file in the session's folder, for the caller to delete. Raises Refusal if there is no point."""
    if kind not in FORMATS:
        raise Refusal(f"expected one of {', '.join(FORMATS)}, got {kind!r}", ABSENT)
    clip = session.clip
    result, queries, first_frame = tracks_of(session)
    path = session.folder / f"{token_hex(8)}.{kind}"
    with calling(clip.path, clip.name):
        if kind == "npz":
            write_tracks_npz(path, result, queries, clip.name)
        elif kind == "csv":
            write_tracks_csv(path, result)
        else:
            _write_overlay(path, clip, result, first_frame)
    return path


def tracks_of(session: Session) -> tuple[TrackResult, Float[Tensor, "N 3"], Int[Tensor, " N"]]:
    """All points as one result, their queries (t, x, y), and the first frame that each is known in."""
    with session.lock:
        points, clip = list(session.points.values()), session.clip
        if not points:
            raise Refusal("there are no points yet", BUSY)
        filled = [_filled(point) for point in points]
    first = torch.tensor([int(point.answers.known.argmax()) for point in points])
    queries = [(a.t, a.x, a.y) for a in (point.anchors[0] for point in points)]
    result = TrackResult(
        tracks=torch.from_numpy(np.stack([answers.xy for answers in filled], axis=1)),
        visible=torch.from_numpy(np.stack([answers.visible for answers in filled], axis=1)),
        confidence=torch.from_numpy(np.stack([answers.confidence for answers in filled], axis=1)),
        size=clip.size,
        fps=clip.fps,
    )
    return result, torch.tensor(queries, dtype=torch.float64), first


def _filled(point: Point) -> Answers:
    """A copy: where nobody has looked, the point stays where it was last, hidden, with confidence 0."""
    answers, known = point.answers, point.answers.known
    frames = np.where(known, np.arange(len(known)), -1)
    source = np.maximum.accumulate(frames)
    source = np.where(source < 0, known.argmax(), source)  # before the first: where it is then
    return Answers(
        xy=answers.xy[source],
        visible=answers.visible & known,
        confidence=np.where(known, answers.confidence, np.float32(0)),
        known=known.copy(),
    )


def _write_overlay(path: Path, clip: Clip, result: TrackResult, first_frame: Int[Tensor, " N"]) -> None:
    painter = TrackPainter(result.tracks, result.visible, first_frame)
    with VideoWriter(path, clip.fps) as writer:
        for t, frame in enumerate(islice(iterate_video(clip.path), clip.num_frames)):
            writer.write(painter.draw(frame, t))
