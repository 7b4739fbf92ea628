"""The shapes of FeatureBooster's networks by name, and which of them the tensors of a file have."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The shape of one network."""

    channels: int
    out_channels: int
    keypoint_size: int  # (x, y, size, angle rad) or (x, y, score)
    keypoint_hidden: tuple[int, ...]
    descriptor_hidden: tuple[int, ...]
    num_layers: int
    binary: bool  # tanh instead of unit norm; a bit is the sign


_SIFT = Preset(
    channels=128,
    out_channels=128,
    keypoint_size=4,
    keypoint_hidden=(32, 64, 128, 128),
    descriptor_hidden=(256, 128),
    num_layers=4,
    binary=False,
)
_SUPERPOINT = Preset(
    channels=256,
    out_channels=256,
    keypoint_size=3,
    keypoint_hidden=(32, 64, 128, 256),
    descriptor_hidden=(256, 256),
    num_layers=9,
    binary=False,
)
_ALIKE = replace(_SIFT, keypoint_size=3, num_layers=9)
_XFEAT = Preset(
    channels=64,
    out_channels=64,
    keypoint_size=3,
    keypoint_hidden=(32, 64, 64),
    descriptor_hidden=(128, 64),
    num_layers=4,
    binary=False,
)
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "ORB+Boost-B": replace(
            _SUPERPOINT, keypoint_size=4, descriptor_hidden=(512, 256), num_layers=4, binary=True
        ),
        "SIFT+Boost-F": _SIFT,
        "SIFT+Boost-B": replace(_SIFT, out_channels=256, binary=True),
        "SuperPoint+Boost-F": _SUPERPOINT,
        "SuperPoint+Boost-B": replace(_SUPERPOINT, binary=True),
        "ALIKE+Boost-F": _ALIKE,
        "ALIKE+Boost-B": replace(_ALIKE, out_channels=256, binary=True),
        # Ours: XFeat came after the paper.
        "XFeat+Boost-F": _XFEAT,
        "XFeat+Boost-B": replace(_XFEAT, out_channels=256, binary=True),
    }
)


def find_preset(name: str) -> Preset:
    """The preset of a name, however it is capitalised. Raises ValueError with the names there are."""
    found = [preset for known, preset in PRESETS.items() if known.lower() == name.lower()]
    if not found:
        raise ValueError(f"{name!r} is not a FeatureBooster preset; there are {', '.join(PRESETS)}")
    return found[0]


def presets_of_shape(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """The names of the presets whose tensors have these shapes, by the tensors' released names.

    What an ablation left out (``kenc``, ``attn_proj``) is not compared. SuperPoint's two variants have one
    shape: then both are named. Raises ValueError where these are not the tensors of a booster.
    """
    if "denc.encoder.0.weight" not in shapes or "final_proj.weight" not in shapes:
        raise ValueError(
            "expected the tensors of a FeatureBooster (denc.encoder.0.weight, final_proj.weight, ...)"
        )
    described, descriptors = _widths(shapes, "kenc"), _widths(shapes, "denc")
    blocks = {match[1] for name in shapes if (match := re.match(r"attn_proj\.layers\.(\d+)\.", name))}
    return [
        name
        for name, p in PRESETS.items()
        if descriptors == [p.channels, *p.descriptor_hidden, p.channels]
        and described in ([], [p.keypoint_size, *p.keypoint_hidden, p.channels])
        and len(blocks) in (0, p.num_layers)
        and tuple(shapes["final_proj.weight"]) == (p.out_channels, p.channels)
    ]


def _widths(shapes: Mapping[str, Sequence[int]], part: str) -> list[int]:
    """The widths of an encoder from its input to its output; none where there is no such encoder."""
    layers = {
        int(match[1]): shape
        for name, shape in shapes.items()
        if (match := re.fullmatch(rf"{part}\.encoder\.(\d+)\.weight", name)) and len(shape) == 2
    }
    ordered = [layers[index] for index in sorted(layers)]
    return [ordered[0][1], *(out for out, _ in ordered)] if ordered else []
