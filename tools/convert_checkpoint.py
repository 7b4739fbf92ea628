"""python tools/convert_checkpoint.py SOURCE TARGET [--half]: from a training run to a release, and back.

A .safetensors TARGET holds what `retracker.load` needs and nothing else: averaged weights, configuration,
thresholds. A .ckpt TARGET can be given to a training as ckpt= (fresh optimiser, step 0) and to whatever else
reads checkpoints. SOURCE is any of both, or a packaged name such as tiny.
"""

import argparse
import sys
from pathlib import Path

import pytorch_lightning as pl
from torch import nn

from retracker.checkpoint import PREFIX, load, save_safetensors, write_atomically


def main(argv: list[str] | None = None) -> int:
    """Convert one file; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a .ckpt of a training run, a .safetensors file, or a packaged name")
    parser.add_argument("target", type=Path, help="the .safetensors or .ckpt file to write")
    parser.add_argument("--half", action="store_true", help="store float16: half the size, loaded as float32")
    arguments = parser.parse_args(argv)
    try:
        convert(arguments.source, arguments.target, half=arguments.half)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"convert_checkpoint: {error}\n")
        return 2
    sys.stdout.write(f"{arguments.target}: {arguments.target.stat().st_size / 2**20:.2f} MiB\n")
    return 0


def convert(source: str | Path, target: Path, *, half: bool) -> None:
    """Write ``target`` in the format of its suffix. Raises ValueError for another suffix, or a bad source."""
    if target.suffix not in (".safetensors", ".ckpt"):
        raise ValueError(f"{target}: expected a name that ends in .safetensors or .ckpt")
    if half and target.suffix == ".ckpt":
        raise ValueError("--half goes with .safetensors: a training goes on in float32")
    net = load(source)
    if target.suffix == ".safetensors":
        save_safetensors(net, net.config, target, half=half)
    else:
        write_atomically(as_checkpoint(net), target)


def as_checkpoint(net: nn.Module) -> dict:
    """What a training run would have written of this net, without optimiser and progress."""
    tensors = {f"{PREFIX}{name}": value for name, value in net.state_dict().items()}
    return {
        "state_dict": tensors,
        "net_config": net.config,
        "pytorch-lightning_version": pl.__version__,
    }


if __name__ == "__main__":
    sys.exit(main())
