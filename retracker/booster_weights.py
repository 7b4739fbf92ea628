"""FeatureBooster's released files: what net a file of nothing but tensors is of."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from retracker.models.booster_presets import PRESETS, presets_of_shape

NESTED = "feature_booster"  # where the authors' training puts the net in its checkpoints


def released_booster(path: Path, content: object) -> tuple[dict, Mapping[str, Tensor]]:
    """The configuration that builds the net of a file of the authors, and its tensors.

    The shape decides which net it is; where it fits a float and a binary one alike, the file's name does.
    Raises ValueError if it holds no booster of a known shape.
    """
    tensors = content.get(NESTED, content) if isinstance(content, Mapping) else content
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"{path}: expected the weights of a FeatureBooster, it holds a {_kind(content)}")
    try:
        names = presets_of_shape({key: tuple(value.shape) for key, value in tensors.items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not names:
        raise ValueError(f"{path}: expected the shape of one of {', '.join(PRESETS)}; its tensors have none")
    names = [name for name in names if name.lower() in path.stem.lower()] or names
    if len({PRESETS[name].binary for name in names}) > 1:
        raise ValueError(f"{path}: its tensors fit {' and '.join(names)} alike; name the file after one")
    return {
        "_target_": "retracker.models.descriptor.build_booster",
        "preset": names[0],
        "keypoint_encoder": any(key.startswith("kenc.") for key in tensors),
        "cross_boosting": any(key.startswith("attn_proj.") for key in tensors),
        "attention": "mha" if any(".attn.qkv." in key for key in tensors) else "aft",
        "dropout": 0.0,
    }, tensors


def _kind(content: object) -> str:
    if not isinstance(content, Mapping):
        return type(content).__name__
    return f"mapping of {', '.join(sorted(map(str, content))[:4]) or 'nothing'}"
