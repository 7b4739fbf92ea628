"""The points of one stream, each in a slot of a group of fixed size, in pixels of the working size.

The network always sees groups of exactly the same number of points, whoever else is tracked: matrix products
round differently for different sizes, and a point's track must not depend on its company.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from retracker.types import FeaturePyramid, TensorStruct, TrackState

GROUP_SIZE = 104  # points the network sees at once: users ask for hundreds, and empty slots cost as much


@dataclass(frozen=True, kw_only=True)
class FrameTracks(TensorStruct):
    """Where the points of a stream are in one frame, in the order of their ids."""

    tracks: Float[Tensor, "N 2"]  # px
    visible: Bool[Tensor, " N"]
    confidence: Float[Tensor, " N"]
    ids: Int[Tensor, " N"]


class Group:
    """A fixed number of slots and the network's state for them."""

    def __init__(self, size: int) -> None:
        self.ids: list[int | None] = [None] * size
        self.births: dict[int, tuple[float, float]] = {}  # slot -> where its point starts in the next frame
        self.state: TrackState | None = None

    def step(self, net: nn.Module, features: FeaturePyramid) -> FrameTracks:
        """Advance by one frame; returns the points of the slots that are taken, slot by slot."""
        device = features.matching.map.device
        xy = torch.zeros(1, len(self.ids), 2)
        born = torch.zeros(1, len(self.ids), dtype=torch.bool)
        for slot, start in self.births.items():
            xy[0, slot], born[0, slot] = torch.tensor(start), True
        frame, self.state = net.step(features, self.state, xy.to(device), born.to(device))
        self.births = {}
        taken = [slot for slot, key in enumerate(self.ids) if key is not None]
        return FrameTracks(
            tracks=frame.xy[0].float().cpu()[taken],
            visible=frame.visible[0].cpu()[taken],
            confidence=frame.confidence[0].float().cpu()[taken],
            ids=torch.tensor([self.ids[slot] for slot in taken]),
        )

    def free(self, slot: int) -> None:
        self.ids[slot] = None
        self.births.pop(slot, None)


class Slots:
    """The groups of a stream; more are opened when all slots are taken, and empty ones are closed."""

    def __init__(self, net: nn.Module, group_size: int) -> None:
        self.net, self.group_size = net, group_size
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
            group = Group(self.group_size)
            self._groups.append(group)
        slot = group.ids.index(None)
        group.ids[slot], group.births[slot] = key, xy
        self._place[key] = group, slot

    def remove(self, key: int) -> None:
        group, slot = self._place.pop(key)
        group.free(slot)
        if all(key is None for key in group.ids):
            self._groups.remove(group)

    def step(self, features: FeaturePyramid) -> FrameTracks:
        """Find every point in one encoded frame."""
        found = [group.step(self.net, features) for group in self._groups]
        if not found:
            return nobody()
        together = found[0].map(lambda *parts: torch.cat(parts), *found[1:])
        order = together.ids.argsort()
        return together.map(lambda x: x[order])

    def state_bytes(self) -> int:
        """The memory that the points take; it does not grow with the number of frames."""
        sizes = []

        def weigh(x: Tensor) -> Tensor:
            sizes.append(x.nbytes)
            return x

        for group in self._groups:
            if group.state is not None:
                group.state.map(weigh)
        return sum(sizes)


def nobody() -> FrameTracks:
    """What a frame without any point gives."""
    none = torch.zeros(0)
    return FrameTracks(tracks=torch.zeros(0, 2), visible=none.bool(), confidence=none, ids=none.long())
