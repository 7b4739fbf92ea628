"""Whether a training can go on from a checkpoint: asked before Lightning loads it, for a clear answer."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from retracker.checkpoint import PREFIX, check_fit, read_torch, verify_once
from retracker.training.average import trainable

NEEDED = (  # what Lightning writes, and what the module adds to it
    *("pytorch-lightning_version", "state_dict", "epoch", "global_step", "loops", "callbacks"),
    *("optimizer_states", "lr_schedulers"),
    *("net_config", "ema_state_dict", "ema_updates", "refused_in_a_row"),
)


def check_resumable(path: Path, net: nn.Module) -> None:
    """Raise ValueError unless ``path`` is what a training of a net with the tensors of ``net`` left."""
    if path.suffix == ".safetensors":
        raise ValueError(f"{path}: holds weights only; resume needs the .ckpt of a training")
    verify_once(path)
    checkpoint = read_torch(path, mmap=True)
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{path}: expected the checkpoint of a training, got a {type(checkpoint).__name__}")
    missing = [key for key in NEEDED if key not in checkpoint]
    if missing:
        raise ValueError(
            f"{path}: not a checkpoint that training can go on from: it lacks {', '.join(missing)}"
        )
    tensors = {
        key.removeprefix(PREFIX): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith(PREFIX)
    }
    check_fit(net.state_dict(), tensors, f"{path}: its tensors are not those of the model asked for")
    averaged = f"{path}: its averaged tensors are not those of the model asked for"
    check_fit(trainable(net), checkpoint["ema_state_dict"], averaged)
