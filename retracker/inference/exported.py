"""Tracks with an exported graph: numpy and onnxruntime, nothing else, so that this file may be copied.

tracker = ExportedTracker("exported/track.onnx")
ids = tracker.add_queries([[120.5, 64.0]])  # (x, y) px, born in the next frame
found = tracker.step(frame)  # (H, W, 3) or (3, H, W) uint8, of the size exported for
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

FORMAT = 1  # of what is read here


@dataclass(frozen=True, kw_only=True)
class ExportedTracks:
    """Where the points are in one frame, in the order of their ids."""

    tracks: np.ndarray  # N 2, float32 px
    visible: np.ndarray  # N, bool
    confidence: np.ndarray  # N, float32 in [0, 1]
    ids: np.ndarray  # N, int64


class ExportedTracker:
    """``OnlineTracker`` (``subpixel=False``) of a fixed frame size and number of points, without torch.

    ``track.json`` lies beside the graph. ``threads`` 0: as many as onnxruntime likes.
    """

    def __init__(
        self, graph: str | Path, providers: Sequence[str] = ("CPUExecutionProvider",), threads: int = 0
    ) -> None:
        about = json.loads(Path(graph).with_suffix(".json").read_text(encoding="utf-8"))
        if about.get("format") != FORMAT:
            raise ValueError(f"{graph}: expected an export of format {FORMAT}, got {about.get('format')}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # errors
        self.about = about
        self._session = onnxruntime.InferenceSession(str(graph), options, providers=list(providers))
        self._size, self._points = (about["height"], about["width"]), about["points"]
        self.reset()

    def reset(self) -> None:
        """Forget all points; ids start from 0 again."""
        state = [entry for entry in self.about["inputs"] if entry["name"].startswith("state_")]
        self._state = [np.zeros(entry["shape"], entry["dtype"]) for entry in state]
        self._ids = np.full(self._points, -1)  # of the point in each slot; -1: free
        self._xy = np.zeros((self._points, 2), np.float32)
        self._born = np.zeros(self._points, bool)
        self._next_id = 0

    def add_queries(self, points_xy: np.ndarray | Sequence) -> np.ndarray:
        """Let points (N, 2) be born in the next frame given to ``step``; returns their ids.

        Raises ValueError for a point outside the frame, and if there are not enough free slots.
        """
        points = np.asarray(points_xy, np.float32)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"expected points of shape (N, 2), got {points.shape}")
        height, width = self._size
        outside = ~((points >= 0) & (points <= [width, height])).all(1)  # so are NaNs
        if outside.any():
            index = int(outside.argmax())
            x, y = points[index]
            raise ValueError(
                f"query {index} at ({x:g}, {y:g}) lies outside the frame of {width} x {height} px"
            )
        free = np.flatnonzero(self._ids < 0)
        if len(points) > len(free):
            room = f"{len(free)} of {self._points} slots are free"
            raise ValueError(f"cannot follow {len(points)} more points: {room}")
        slots = free[: len(points)]
        ids = np.arange(self._next_id, self._next_id + len(points))
        self._ids[slots], self._xy[slots], self._born[slots] = ids, points, True
        self._next_id += len(points)
        return ids

    def remove_queries(self, ids: Iterable[int]) -> None:
        """Stop following these points, born or not yet. Raises ValueError for an id that is not followed."""
        keys = np.unique(np.asarray(list(ids), np.int64))
        unknown = keys[~np.isin(keys, self._ids[self._ids >= 0])]
        if len(unknown):
            raise ValueError(f"point {unknown[0]} is not being followed")
        slots = np.isin(self._ids, keys)
        self._ids[slots], self._born[slots] = -1, False

    def step(self, frame: np.ndarray) -> ExportedTracks:
        """Find all points in the next frame. Raises ValueError if it is not uint8 or of another size."""
        frame = self._checked(frame)
        xy, visible, confidence, *self._state = self.answer(frame, self._xy, self._born, *self._state)
        self._born = np.zeros_like(self._born)
        order = np.argsort(self._ids)
        order = order[self._ids[order] >= 0]
        return ExportedTracks(
            tracks=xy[order], visible=visible[order], confidence=confidence[order], ids=self._ids[order]
        )

    def answer(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The graph itself: its inputs in the order of ``track.json`` to its outputs."""
        names = [entry["name"] for entry in self.about["inputs"]]
        return self._session.run(None, dict(zip(names, inputs, strict=True)))

    def _checked(self, frame: np.ndarray) -> np.ndarray:
        frame, size = np.asarray(frame), self._size
        if frame.dtype == np.uint8 and frame.shape == (*size, 3):
            frame = frame.transpose(2, 0, 1)
        if frame.dtype != np.uint8 or frame.shape != (3, *size):
            raise ValueError(
                f"expected a uint8 frame of {size[1]} x {size[0]} px, as exported for, "
                f"got {frame.dtype} of shape {frame.shape}"
            )
        return np.ascontiguousarray(frame)
