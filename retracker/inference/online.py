"""Tracking a stream: one frame at a time, in constant memory, with points that come and go."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor, nn

from retracker.geometry.coords import rescale
from retracker.inference import snapshot
from retracker.inference.checks import check_probability, check_tracker
from retracker.inference.frames import GROUP_SIZE, check_inside, finest_size, shown, tracking_size, views
from retracker.inference.slots import FrameTracks, Slots, nobody
from retracker.media.sources import rgb

SETTINGS = ("image_size", "group_size", "subpixel", "max_size", "visible_threshold")


class OnlineTracker:
    """Tracks points through frames as they arrive.

    Positions are (x, y) raster pixels of the frames as given; inside, frames are resized to the network's
    working size (``frames.tracking_size``, aspect kept). Points live in groups of ``group_size`` slots,
    always full as far as the network can tell, so that a track does not depend on which others there are.
    Results are on the CPU. With ``subpixel`` what is returned of visible points is moved to where the grey
    values around them, as they were at birth, fit best (``subpixel.py``), up to full resolution, or frames
    whose sides are no longer than ``max_size`` px. ``visible_threshold``, in [0, 1], takes the place of the
    model's, and changes nothing but what is called visible.
    """

    def __init__(
        self,
        model: nn.Module,
        image_size: int | None = None,
        group_size: int = GROUP_SIZE,
        subpixel: bool = True,
        max_size: int | None = None,
        visible_threshold: float | int | None = None,
    ) -> None:
        check_tracker(model)
        check_probability("visible_threshold", visible_threshold)
        self.model, self.image_size = model, image_size
        self.group_size, self.subpixel, self.max_size = group_size, subpixel, max_size
        self.visible_threshold = visible_threshold
        self.reset()

    def reset(self) -> None:
        """Forget all points and the size of the frames; ids start from 0 again."""
        self._slots = Slots(
            self.model, self.group_size, subpixel=self.subpixel, visible_threshold=self.visible_threshold
        )
        self._size: tuple[int, int] | None = None  # (height, width) of the frames
        self._small: tuple[int, int] | None = None  # at which the net works on them
        self._next_id = 0
        self._born: dict[int, Tensor] = {}  # id -> its query, until the frame it is born in

    def snapshot(self) -> dict[str, Any]:
        """All that the coming frames' answers depend on: plain containers of tensors, for ``torch.save``."""
        return {
            "version": snapshot.VERSION,
            "weights": snapshot.digest(self.model),
            "settings": {name: getattr(self, name) for name in SETTINGS},
            "size": self._size,
            "small": self._small,
            "next_id": self._next_id,
            "born": {key: xy.clone() for key, xy in self._born.items()},
            "groups": self._slots.snapshot(),
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from a ``snapshot`` as if nothing had been in between, to the bit; also from another process.

        Settings such as ``image_size``, and the working size, are the snapshot's. Raises ValueError if it is
        none, or one that was taken with other weights.
        """
        snapshot.check(kept, self.model)
        for name in SETTINGS:
            setattr(self, name, kept["settings"][name])
        self.reset()
        self._size = None if kept["size"] is None else tuple(kept["size"])
        small = kept.get("small")  # absent from those taken before there was a limit to enlargement
        self._small = None if small is None else tuple(small)
        self._next_id = kept["next_id"]
        self._born = {key: xy.clone() for key, xy in kept["born"].items()}
        self._slots.restore(kept["groups"])

    def add_queries(self, points_xy: Tensor | np.ndarray | Sequence) -> Int[Tensor, " N"]:
        """Let points (N, 2) be born in the next frame given to ``step``; returns their ids.

        Raises ValueError naming the first point that is not finite or, if the frames' size is known, outside
        them.
        """
        points = torch.as_tensor(points_xy, dtype=torch.float32).detach().cpu()
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"expected points of shape (N, 2), got {tuple(points.shape)}")
        check_inside(points, self._size)
        ids = torch.arange(self._next_id, self._next_id + len(points))
        self._born |= dict(zip(ids.tolist(), points, strict=True))
        self._next_id += len(points)
        return ids

    def remove_queries(self, ids: Iterable[int] | Int[Tensor, " N"]) -> None:
        """Stop following these points, born or not yet. Raises ValueError for an id that is not followed."""
        keys = dict.fromkeys(int(key) for key in ids)  # each once, in their order
        unknown = [key for key in keys if key not in self._slots and key not in self._born]
        if unknown:
            raise ValueError(f"point {unknown[0]} is not being followed")
        for key in keys:
            if self._born.pop(key, None) is None:
                self._slots.remove(key)

    def step(self, frame: Tensor | np.ndarray) -> FrameTracks:
        """Find all points in the next frame, (3,H,W) or (H,W,3) uint8, in the order of their ids.

        Grey frames and ones with alpha are understood, too (``rgb``).

        Raises ValueError if the frame's size is not that of the first, or a query lies outside it.
        """
        frame = rgb(frame)
        size = (frame.shape[-2], frame.shape[-1])
        if self._size not in (None, size):
            raise ValueError(f"expected a frame of {shown(self._size)} like the first, got {shown(size)}")
        for key, xy in self._born.items():
            try:
                check_inside(xy[None], size, first_index=key)
            except ValueError as error:
                raise ValueError(f"{error}; remove_queries([{key}]) drops it") from None
        self._size = size
        if not self._born and not len(self._slots):
            return nobody()  # nobody is followed: there is nothing to look for
        with torch.inference_mode():
            found = self._advance(frame, size)
        return found.map(Tensor.clone)  # outside, so that users may write into it

    def state_bytes(self) -> int:
        """The memory that the points' state takes on the model's device, in bytes."""
        return self._slots.state_bytes()

    def _advance(self, frame: UInt8[Tensor, "3 H W"], size: tuple[int, int]) -> FrameTracks:
        small = self._small = self._small or tracking_size(self.model, size, self.image_size)
        device = next(self.model.parameters()).device
        finest = finest_size(size, self.max_size) if self.subpixel else small
        seen = views(frame.to(device), small, finest)
        features = self.model.encode(seen[0][None])
        for key, xy in self._born.items():
            self._slots.add(key, tuple(rescale(xy, size, small).tolist()))
        found = self._slots.step(features, seen)
        tracks = rescale(found.tracks, small, size)
        for row in torch.isin(found.ids, torch.tensor(list(self._born)).long()).nonzero()[:, 0].tolist():
            tracks[row] = self._born[int(found.ids[row])]  # to the bit, whatever resizing rounds
        self._born = {}
        return replace(found, tracks=tracks)
