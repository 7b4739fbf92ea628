"""The state of a tracker as plain containers of tensors, as ``torch.save`` and ``torch.load`` have them."""

import hashlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from retracker.types import Estimate, TemporalMemory, TensorStruct, TrackState

VERSION = 3
KEYS = {"version", "weights", "settings", "size", "next_id", "born", "groups"}


def plain(value: object) -> Any:
    """A record as a dict, with copies of its tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, TensorStruct):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def track_state(values: Mapping[str, Any]) -> TrackState:
    """What ``plain`` made of a tracker's state, as that again."""
    memory = values["memory"]
    return TrackState(
        **values
        | {
            "templates": tuple(values["templates"]),
            "last": Estimate(**values["last"]),
            "memory": TemporalMemory(**memory | {"patches": tuple(memory["patches"])}),
        }
    )


def check(kept: object, net: nn.Module) -> None:
    """Raise ValueError unless this is the snapshot of a tracker with the weights of ``net``."""
    if not (isinstance(kept, Mapping) and kept.keys() >= KEYS):
        raise ValueError("expected what OnlineTracker.snapshot() returned")
    if kept["version"] != VERSION:
        raise ValueError(f"expected a snapshot of version {VERSION}, got {kept['version']}")
    if kept["weights"] != digest(net):
        raise ValueError("this snapshot was taken with other weights")


def digest(net: nn.Module) -> str:
    """What tells the weights of a net from others'."""
    found = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()
