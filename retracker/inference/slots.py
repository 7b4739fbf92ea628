"""The points of one stream, each in a slot of a group of fixed size, in pixels of the working size.

The network always sees groups of exactly the same number of points, whoever else is tracked: matrix products
round differently for different sizes, and a point's track must not depend on its company.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from retracker.inference.snapshot import plain, track_state
from retracker.inference.subpixel import Laid, Patches, cut_patches, grey, lay
from retracker.models.tracker import surer_than
from retracker.types import FeaturePyramid, TensorStruct, TrackState, where

TRACK_ROUNDS = 6  # steps of sharpening: a frame's worth of time for a tenth of a pixel would be too much


@dataclass(frozen=True, kw_only=True)
class FrameTracks(TensorStruct):
    """Where the points of a stream are in one frame, in the order of their ids."""

    tracks: Float[Tensor, "N 2"]  # px
    visible: Bool[Tensor, " N"]
    confidence: Float[Tensor, " N"]
    ids: Int[Tensor, " N"]


@dataclass(frozen=True, kw_only=True)
class GreyImage(TensorStruct):
    """A frame's grey values at some size."""

    values: Float[Tensor, "1 1 h w"]
    zoom: Float[Tensor, "2"]  # by how much (x, y) px of the working size grow


class Group:
    """A fixed number of slots and the network's state for them."""

    def __init__(self, size: int, net: nn.Module, lay: Callable[..., Laid]) -> None:
        self._net, self._lay = net, lay
        self.ids: list[int | None] = [None] * size
        self.births: dict[int, tuple[float, float]] = {}  # slot -> where its point starts in the next frame
        self.state: TrackState | None = None
        self.patches: tuple[Patches, ...] = ()  # around each point where it was born, at each size

    def step(
        self, features: FeaturePyramid, images: Sequence[GreyImage], visible_threshold: float | int | None
    ) -> FrameTracks:
        """Advance by one frame; returns the points of the slots that are taken, slot by slot.

        With the frame's ``grey`` values, the coarsest first, positions are sharpened, and the network goes on
        from there. ``visible_threshold`` changes what is called visible and nothing else: which points are
        sharpened is decided by the network's own.
        """
        device = features.matching.map.device
        xy = torch.zeros(1, len(self.ids), 2)
        born = torch.zeros(1, len(self.ids), dtype=torch.bool)
        for slot, start in self.births.items():
            xy[0, slot], born[0, slot] = torch.tensor(start), True
        xy, born = xy.to(device), born.to(device)
        frame, self.state = self._net.step(features, self.state, xy, born)
        tracks = frame.xy[0].float()
        if images:
            self._cut(images, xy[0], born[0])
            sharp = self._sharpened(images, tracks, frame.visible[0] & ~born[0])
            self.state = self.state.moved_to(sharp[None], (sharp != tracks).any(-1)[None])
            tracks = sharp
        visible = frame.visible[0]
        if visible_threshold is not None:
            visible = born[0] | surer_than(frame.refined[-1], visible_threshold)[0]
        self.births = {}
        taken = [slot for slot, key in enumerate(self.ids) if key is not None]
        return FrameTracks(
            tracks=tracks.cpu()[taken],
            visible=visible.cpu()[taken],
            confidence=frame.confidence[0].float().cpu()[taken],
            ids=torch.tensor([self.ids[slot] for slot in taken]),
        )

    def _cut(self, images: Sequence[GreyImage], xy: Float[Tensor, "G 2"], born: Bool[Tensor, " G"]) -> None:
        if self.patches and not self.births:
            return
        fresh = tuple(cut_patches(image.values, xy * image.zoom) for image in images)
        old = self.patches or fresh
        self.patches = tuple(where(born, new, kept) for new, kept in zip(fresh, old, strict=True))

    def _sharpened(
        self, images: Sequence[GreyImage], xy: Float[Tensor, "G 2"], seen: Bool[Tensor, " G"]
    ) -> Float[Tensor, "G 2"]:
        """Each point that is seen where its patch fits best, starting unturned: turns of the past mislead."""
        affine = torch.eye(2, device=xy.device).expand(len(xy), 2, 2)
        for patches, image in zip(self.patches, images, strict=True):
            start = Laid(xy=xy * image.zoom, affine=affine, better=seen)
            laid = self._lay(patches, image.values, start, TRACK_ROUNDS)
            better = seen & laid.better
            xy = torch.where(better[:, None], laid.xy / image.zoom, xy)
            affine = torch.where(better[:, None, None], laid.affine, affine)
        return xy

    def free(self, slot: int) -> None:
        self.ids[slot] = None
        self.births.pop(slot, None)


class Slots:
    """The groups of a stream; more are opened when all slots are taken, and empty ones are closed."""

    def __init__(
        self,
        net: nn.Module,
        group_size: int,
        *,
        subpixel: bool,
        visible_threshold: float | int | None = None,  # the network's
    ) -> None:
        self.net, self.group_size, self.subpixel = net, group_size, subpixel
        self.visible_threshold = visible_threshold
        compiled = net.compiled or (lambda work: work)
        self._grey, self._lay = compiled(grey), compiled(lay)
        self._groups: list[Group] = []
        self._place: dict[int, tuple[Group, int]] = {}  # id -> its group and slot

    def __contains__(self, key: int) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._place)

    def add(self, key: int, xy: tuple[float, float]) -> None:
        """Let a point be born at ``xy`` (px of the working size) in the next frame."""
        group = next((group for group in self._groups if None in group.ids), None)
        if group is None:
            group = Group(self.group_size, self.net, self._lay)
            self._groups.append(group)
        slot = group.ids.index(None)
        group.ids[slot], group.births[slot] = key, xy
        self._place[key] = group, slot

    def remove(self, key: int) -> None:
        group, slot = self._place.pop(key)
        group.free(slot)
        if all(key is None for key in group.ids):
            self._groups.remove(group)

    def step(self, features: FeaturePyramid, views: Sequence[UInt8[Tensor, "3 _ _"]]) -> FrameTracks:
        """Find every point in one frame: encoded, and as it is at the working size and at larger ones."""
        images = (
            [self._grey_image(view, views[0]) for view in views] if self.subpixel and self._groups else []
        )
        found = [group.step(features, images, self.visible_threshold) for group in self._groups]
        if not found:
            return nobody()
        together = found[0].map(lambda *parts: torch.cat(parts), *found[1:])
        order = together.ids.argsort()
        return together.map(lambda x: x[order])

    def snapshot(self) -> list[dict[str, Any]]:
        """The groups between two frames, as plain containers."""
        return [
            {"ids": list(group.ids), "state": plain(group.state), "patches": plain(group.patches)}
            for group in self._groups
        ]

    def _grey_image(self, view: UInt8[Tensor, "3 h w"], smallest: UInt8[Tensor, "3 _ _"]) -> GreyImage:
        zoom = [view.shape[axis] / smallest.shape[axis] for axis in (-1, -2)]
        return GreyImage(values=self._grey(view), zoom=torch.tensor(zoom, device=view.device))

    def restore(self, groups: list[dict[str, Any]]) -> None:
        """Have the groups of a ``snapshot`` instead of one's own."""
        device = next(self.net.parameters()).device
        self._groups, self._place = [], {}
        for kept in groups:
            group = Group(len(kept["ids"]), self.net, self._lay)
            group.ids = list(kept["ids"])
            group.state = track_state(kept["state"]).to(device)
            group.patches = tuple(Patches(**values).to(device) for values in kept["patches"])
            self._groups.append(group)
            self._place |= {key: (group, slot) for slot, key in enumerate(group.ids) if key is not None}

    def state_bytes(self) -> int:
        """The memory that the points take; it does not grow with the number of frames."""
        sizes = []

        def weigh(x: Tensor) -> Tensor:
            sizes.append(x.nbytes)
            return x

        for group in self._groups:
            for held in (group.state, *group.patches):
                if held is not None:
                    held.map(weigh)
        return sum(sizes)


def nobody() -> FrameTracks:
    """What a frame without any point gives."""
    none = torch.zeros(0)
    return FrameTracks(tracks=torch.zeros(0, 2), visible=none.bool(), confidence=none, ids=none.long())
