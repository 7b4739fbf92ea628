"""Whether the parts of a tracker, each chosen by itself, go together."""

from math import inf

from retracker.models.backbones.backbone import Backbone
from retracker.models.coarse import CoarseMatcher
from retracker.models.memory import Memory
from retracker.models.refiner import Refiner


def check_sizes(image_size: float | int, most_enlarged: float | int | None) -> None:
    """Raise ValueError, naming the key, where the size that a net works at is none."""
    if not (is_number(image_size) and 1 <= image_size < inf):
        raise ValueError(f"image_size: expected a number of px, 1 or more, got {image_size!r}")
    if most_enlarged is not None and not (is_number(most_enlarged) and 1 <= most_enlarged < inf):
        raise ValueError(f"most_enlarged: expected a factor of 1 or more, or null, got {most_enlarged!r}")


def is_number(value: object) -> bool:
    return isinstance(value, (float, int)) and not isinstance(value, bool)


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
