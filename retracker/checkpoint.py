"""Save a net, load it again, and rebuild it from its file alone.

Nothing in a checkpoint can run code: files are read with ``weights_only=True`` (or as safetensors), and only
targets defined under ``retracker.models`` are built from the configuration they carry.
"""

import importlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from retracker.backbone_weights import load_backbone_weights as load_backbone_weights
from retracker.backbone_weights import read_torch as read_torch
from retracker.booster_weights import released_booster
from retracker.checkpoint_files import clear_unfinished as clear_unfinished
from retracker.checkpoint_files import newest_valid as newest_valid
from retracker.checkpoint_files import settle, unfinished_name
from retracker.checkpoint_files import survey as survey
from retracker.checkpoint_files import verify as verify
from retracker.checkpoint_files import verify_once as verify_once
from retracker.checkpoint_files import write_atomically as write_atomically
from retracker.models.descriptor import FeatureBooster

MODELS = "retracker.models."  # the only package that a checkpoint may name
PREFIX = "net."  # what Lightning puts before the names of our net's tensors
SHOWN = 4  # names shown in a message before it says "and n more"


def load(source: str | Path) -> nn.Module:
    """Rebuild a net from a packaged name such as "tiny", or from the path of a .ckpt or .safetensors file.

    The net is on the CPU, in eval mode, in float32; ``net.config`` is the dict that rebuilds it. Averaged
    (EMA) weights are preferred where the file has them. Raises FileNotFoundError if there is no such file,
    ValueError if it is torn, is not a ReTracker checkpoint, or does not fit its own configuration.
    """
    path = resolve(source)
    config, tensors = _read_safetensors(path) if path.suffix == ".safetensors" else _read_lightning(path)
    try:
        net = build_net(config)
    except ValueError as error:
        raise ValueError(f"{path}: its configuration cannot be built: {error}") from error
    fill(net, tensors, str(path))
    net.config = config
    return net.eval()


def load_booster(source: str | Path) -> FeatureBooster:
    """A FeatureBooster from whatever ``load`` takes, or from a file of the paper's authors.

    The net is on the CPU, in eval mode; ``net.config`` rebuilds it. Raises FileNotFoundError if there is no
    such file, ValueError if it is torn or holds no booster of a known shape.
    """
    path = resolve(source)
    content = None if path.suffix == ".safetensors" else read_torch(path)
    if content is None or (isinstance(content, Mapping) and "net_config" in content):
        net = load(path)
        if not isinstance(net, FeatureBooster):
            raise ValueError(f"{path}: expected a FeatureBooster, it holds a {type(net).__name__}")
        return net
    config, tensors = released_booster(path, content)
    net = build_net(config)
    fill(net, tensors, str(path))
    net.config = config
    return net.eval()


def resolve(source: str | Path) -> Path:
    """The file that a packaged name or a path stands for; raises FileNotFoundError if there is none."""
    packaged = {path.stem: path for path in _packaged()}
    if str(source) in packaged:
        return packaged[str(source)]
    path = Path(source).expanduser()
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a directory: give the file itself, such as {path / 'last.ckpt'}")
    if not path.is_file():
        names = ", ".join(sorted(packaged)) or "none in this installation"
        raise FileNotFoundError(
            f"there is no checkpoint {str(source)!r}: give a .ckpt or .safetensors file, "
            f"or a packaged name ({names})"
        )
    return path


def build_net(config: Mapping) -> nn.Module:
    """Build a net from a nested mapping in which ``_target_`` names what builds it in ``retracker.models``.

    Nested mappings with a ``_target_`` are built first, lists item by item; all else is handed over as it is.
    What the configuration leaves to the backbone is ``fitted`` first.
    Raises ValueError for a foreign target and for keys that the target does not take or lacks.
    """
    net = _build(fitted(config), "config")
    if not isinstance(net, nn.Module):
        raise ValueError(f"config: expected a _target_ that builds a net, got a {type(net).__name__}")
    return net


def fitted(config: Mapping) -> dict:
    """A tracker's configuration with all numbers that it leaves to its backbone; any other as it is.

    ``channels`` that are null become those of the level that is matched, and one number of iterations becomes
    one for each level.
    """
    config = dict(config)
    backbone, coarse, refiner = (config.get(part) for part in ("backbone", "coarse", "refiner"))
    if not all(isinstance(part, Mapping) for part in (backbone, coarse, refiner)):
        return config
    iterations = refiner.get("iterations")
    if coarse.get("channels", 0) is not None and not isinstance(iterations, int):
        return config
    with torch.device("meta"):  # only its shape is asked for
        channels = _build(backbone, "config.backbone").channels
    level = coarse.get("level")
    level = level if level in range(len(channels)) else 0  # the net itself says what is wrong with it
    for part in ("coarse", "descriptor"):
        config[part] = _with_channels(config.get(part), channels[level])
    if isinstance(iterations, int):
        config["refiner"] = dict(refiner) | {"iterations": [iterations] * len(channels)}
    return config


def same_net(config: Mapping, kept: Mapping) -> bool:
    """Whether ``kept``, which may be older, configures what ``config`` does.

    It may lack what there was no key for: what is asked for must then be the default of that parameter.
    """
    added = config.keys() - kept.keys()
    target = config.get("_target_")
    defaults = inspect.signature(_find(target, "config")).parameters if added and target else {}
    return (
        kept.keys() <= config.keys()
        and all(key in defaults and defaults[key].default == config[key] for key in added)
        and all(_same_part(config[key], kept[key]) for key in kept)
    )


def fill(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copy ``tensors`` into the net, all of them and nothing else; raises ValueError saying what differs."""
    check_fit(net.state_dict(), tensors, f"{where}: its tensors are not those of its configuration")
    net.load_state_dict(dict(tensors))


def check_fit(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], complaint: str) -> None:
    """Raise ValueError, the complaint and what differs, unless names and shapes are those of ``own``."""
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in tensors and own[key].shape != tensors[key].shape
    ]
    faults = [
        f"{what} {_enumerate(names)}"
        for what, names in (("it lacks", missing), ("it also has", unexpected), ("shapes differ:", shapes))
        if names
    ]
    if faults:
        raise ValueError(f"{complaint}: {'; '.join(faults)}")


def save_safetensors(net: nn.Module, config: Mapping, path: str | Path, *, half: bool = False) -> None:
    """Write a net and the configuration that rebuilds it to one .safetensors file, atomically.

    ``half`` stores float tensors as float16; ``load`` gives float32 again. Raises ValueError on overflow.
    """
    tensors = {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}
    if half:
        tensors = {key: _to_half(key, value) for key, value in tensors.items()}
    blob = serialise(tensors, metadata={"format": "retracker", "config": json.dumps(_plain(config))})
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = unfinished_name(path)
    try:
        unfinished.write_bytes(blob)
        settle(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def _same_part(config: object, kept: object) -> bool:
    both_mappings = isinstance(config, Mapping) and isinstance(kept, Mapping)
    return same_net(config, kept) if both_mappings else config == kept


def _with_channels(value: object, channels: int) -> object:
    """Nested mappings in which each number of channels that is null is stated."""
    if not isinstance(value, Mapping):
        return value
    open_keys = [key for key in ("channels", "out_channels") if value.get(key, channels) is None]
    stated = {key: _with_channels(part, channels) for key, part in value.items()}
    return stated | dict.fromkeys(open_keys, channels)


def _build(value: object, where: str) -> object:
    if isinstance(value, Mapping):
        foreign = [key for key in value if str(key).startswith("_") and key != "_target_"]
        if foreign:
            raise ValueError(f"{where}: {_enumerate(foreign)} means nothing here; only _target_ is known")
        parts = {key: _build(part, f"{where}.{key}") for key, part in value.items() if key != "_target_"}
        return _call(value["_target_"], parts, where) if "_target_" in value else parts
    if isinstance(value, (list, tuple)):
        return [_build(part, f"{where}[{index}]") for index, part in enumerate(value)]
    return value


def _call(target: object, parts: dict, where: str) -> object:
    factory = _find(target, where)
    signature = inspect.signature(factory).parameters.values()
    accepted = {p.name: p for p in signature if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    required = {name for name, parameter in accepted.items() if parameter.default is inspect.Parameter.empty}
    unknown, missing = sorted(parts.keys() - accepted.keys()), sorted(required - parts.keys())
    if unknown:
        raise ValueError(f"{where}: {target} takes no {_enumerate(unknown)}; it takes {', '.join(accepted)}")
    if missing:
        raise ValueError(f"{where}: {target} needs {_enumerate(missing)}")
    return factory(**parts)


def _find(target: object, where: str) -> Callable[..., object]:
    if not (isinstance(target, str) and target.startswith(MODELS)):
        raise ValueError(f"{where}: only parts of {MODELS[:-1]} can be built, not {target!r}")
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"{where}: there is no {target!r} (no module {error.name!r})") from error
    # What a module of ours merely imported (torch, os) is as foreign as what it could have imported.
    if not callable(found) or not getattr(found, "__module__", "").startswith(MODELS):
        raise ValueError(f"{where}: there is no class {name!r} in {module_name}")
    return found


def _read_lightning(path: Path) -> tuple[dict, dict[str, Tensor]]:
    verify(path)
    checkpoint = read_torch(path)
    keys = sorted(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else []
    if "net_config" not in keys or "state_dict" not in keys:
        found = f"it holds {_enumerate(keys)}" if keys else f"it holds a {type(checkpoint).__name__}"
        raise ValueError(f"{path}: not a ReTracker checkpoint, which has net_config and state_dict; {found}")
    tensors = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    averaged = checkpoint.get("ema_state_dict") or {}  # may leave out buffers, which are not averaged
    return checkpoint["net_config"], tensors | {
        key.removeprefix(PREFIX): value for key, value in averaged.items()
    }


def _read_safetensors(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error})") from error
    if metadata.get("format") != "retracker":
        raise ValueError(f"{path}: not a ReTracker checkpoint: its metadata hold no configuration")
    return json.loads(metadata["config"]), tensors


def _packaged() -> Iterator[Path]:
    for entry in resources.files("retracker.weights").iterdir():
        if entry.name.endswith(".safetensors"):
            yield Path(str(entry))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _to_half(key: str, value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    half = value.half()
    if half.isinf().any() and not value.isinf().any():
        raise ValueError(f"{key} does not fit in float16 (largest value {value.abs().max():.3g})")
    return half


def _enumerate(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
