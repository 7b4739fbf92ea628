"""Released weights for backbones: from a file, an installed package, a cache or the hub.

Called only when a fresh training starts: a checkpoint holds every weight it needs.
"""

import errno
import importlib.util
import os
import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from torch import Tensor, nn

from retracker.models.backbones.backbone import Backbone, WeightTarget

SUFFIXES = (".safetensors", ".pth", ".pt")
# What torch's unpickler raises, besides UnpicklingError, when a file's bytes are no instructions for it.
UNREADABLE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    struct.error,
)
WRAPPERS = ("state_dict", "model")  # keys under which training scripts nest a state dict


def load_backbone_weights(net: nn.Module, source: str, cache_dir: Path | None) -> str:
    """Start a backbone (or the backbone of a net) from released weights, and say which in one line.

    ``source`` is ``auto`` (installed package, then cache, then hub), ``none`` (keep random weights), a file,
    or a folder of files named after the parts. ``cache_dir`` defaults to ``~/.cache/retracker``.
    Raises FileNotFoundError where there is nothing to load and ValueError where a file does not fit.
    """
    backbone = net if isinstance(net, Backbone) else getattr(net, "backbone", None)
    if not isinstance(backbone, Backbone):
        raise ValueError(f"expected a backbone or a net that has one, got {type(net).__name__}")
    if source == "none":
        return "random backbone weights"
    targets = backbone.weight_targets()
    if source == "auto":
        return "; ".join(_load_auto(target, cache_dir or _default_cache()) for target in targets)
    return "; ".join(_fit(target, _named_file(Path(source), target, len(targets))) for target in targets)


def load_installed(target: WeightTarget) -> None:
    """Fill a module with the weights of its installed package; FileNotFoundError if that is missing."""
    path = _in_package(target) or _in_folder(target, _default_cache())
    if path is None:
        raise FileNotFoundError(
            f"no weights for {target.name}: neither is the package {target.package} installed, nor is there "
            f"{_default_cache() / target.name}{SUFFIXES[-1]}"
        )
    _fit(target, path)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors, .pth or .pt file, unwrapped; ValueError if it holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: expected a file of weights, could not read it: {error}") from error
    state = read_torch(path)
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict (names and tensors), got {type(state).__name__}")
    return dict(state)


def read_torch(path: Path, *, mmap: bool = False) -> object:
    """What a torch file holds: tensors and plain containers; ValueError if it is torn or asks for more.

    With ``mmap`` tensors are read when they are used: for whoever asks for names and shapes. Raises OSError
    if reading it failed, which says nothing of the file.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path}: refused: it is damaged, or holds objects other than tensors and plain values"
        ) from error
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # torn files ask for bad places
            raise
        if "unable to mmap" in str(error):  # there is no memory left to map it to, or its disk has gone
            raise OSError(errno.ENOMEM, f"{path}: could not be read: {str(error).splitlines()[0]}") from error
        raise ValueError(f"{path}: not a whole torch file (cut off or damaged)") from error


def _load_auto(target: WeightTarget, cache_dir: Path) -> str:
    local = _in_package(target) or _in_folder(target, cache_dir)
    if local is not None:
        return _fit(target, local)
    if target.hub_id is None and target.url is None:
        warnings.warn(
            f"{target.name}: starting from random weights, since neither the package {target.package} is "
            f"installed nor {cache_dir / target.name}{SUFFIXES[-1]} exists",
            stacklevel=3,
        )
        return f"{target.name}: random weights"
    return _fit(target, _download(target, cache_dir))


def _in_package(target: WeightTarget) -> Path | None:
    # find_spec locates a top-level package without running its code.
    spec = None if target.package is None else importlib.util.find_spec(target.package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "weights" / f"{target.name}.pt"
    return path if path.is_file() else None


def _in_folder(target: WeightTarget, folder: Path) -> Path | None:
    paths = (folder / f"{target.name}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _named_file(path: Path, target: WeightTarget, num_targets: int) -> Path:
    if path.is_dir():
        found = _in_folder(target, path)
        if found is None:
            raise FileNotFoundError(f"{path}: expected {target.name} with one of {', '.join(SUFFIXES)} in it")
        return found
    if not path.is_file():
        raise FileNotFoundError(
            f"pretrained={path}: no such file or folder; auto and none are the other choices"
        )
    if num_targets > 1:
        raise ValueError(
            f"{path}: this backbone has {num_targets} parts, so give a folder of files named after them"
        )
    return path


def _download(target: WeightTarget, cache_dir: Path) -> Path:
    reasons = []
    for source, fetch in ((target.hub_id, _from_hub), (target.url, _from_url)):
        if source is None:
            continue
        try:
            return fetch(source, target, cache_dir)
        except (HfHubHTTPError, OSError) as error:  # an unreachable hub and a refused file are both OSErrors
            reasons.append(f"{source} ({type(error).__name__})")
    raise FileNotFoundError(
        f"no weights for {target.name}: looked for {cache_dir / target.name}{SUFFIXES[0]} and could not "
        f"download {' or '.join(reasons)}; put the file there, or give pretrained=<path>, "
        "or pretrained=none to go on with random weights"
    )


def _from_hub(hub_id: str, _target: WeightTarget, _cache_dir: Path) -> Path:
    return Path(hf_hub_download(hub_id, "model.safetensors"))  # into the hub's own cache, shared with others


def _from_url(url: str, target: WeightTarget, cache_dir: Path) -> Path:
    cache_dir.mkdir(parents=True, exist_ok=True)
    path = cache_dir / f"{target.name}.pth"
    torch.hub.download_url_to_file(url, str(path), progress=False)  # writes a temporary file, then renames
    return path


def _fit(target: WeightTarget, path: Path) -> str:
    state = target.convert(read_state(path))
    expected = target.module.state_dict()
    counters = {
        key for key in expected if key.endswith("num_batches_tracked")
    }  # absent from old files, unused
    missing = sorted(expected.keys() - state.keys() - counters)
    unexpected = sorted(state.keys() - expected.keys())
    wrong = sorted(k for k in expected.keys() & state.keys() if expected[k].shape != state[k].shape)
    if missing or unexpected or wrong:
        problems = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
        listed = ", ".join(f"{len(keys)} {what} (e.g. {keys[0]})" for what, keys in problems if keys)
        raise ValueError(
            f"{path}: expected weights of {target.name}; of its {len(expected)} tensors {listed}"
        )
    target.module.load_state_dict(state, strict=False)  # the counters aside, strictness is checked above
    return f"{target.name}: {path.name} from {path.parent}"


def _default_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "retracker"
