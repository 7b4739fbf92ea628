"""Whether the parts of a tracker, each chosen by itself, go together."""

from retracker.models.backbones.backbone import Backbone
from retracker.models.coarse import CoarseMatcher
from retracker.models.memory import Memory
from retracker.models.refiner import Refiner


def check_parts(backbone: Backbone, coarse: CoarseMatcher, memory: Memory, refiner: Refiner) -> None:
    """Raise ValueError, naming the key, where a number of one part contradicts another part."""
    channels = backbone.channels
    levels = f"the backbone's levels, which have {list(channels)} channels"
    if coarse.level not in range(len(channels)):
        raise ValueError(f"coarse.level: expected 0 to {len(channels) - 1}, of {levels}, got {coarse.level}")
    if coarse.channels != channels[coarse.level]:
        raise ValueError(
            f"coarse.channels: expected {channels[coarse.level]}, those of level {coarse.level} of {levels}, "
            f"got {coarse.channels}; null takes the backbone's"
        )
    if len(refiner.iterations) != len(channels):
        raise ValueError(
            f"refiner.iterations: expected one number, or one for each of {levels}, got {refiner.iterations}"
        )
    if refiner.memory_size != memory.size:
        raise ValueError(
            f"refiner.memory_size: expected memory.size, {memory.size}, got {refiner.memory_size}"
        )
