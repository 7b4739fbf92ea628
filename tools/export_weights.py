"""python tools/export_weights.py CHECKPOINT OUT.safetensors [--half]: keep what `retracker.load` needs."""

import argparse
import sys
from pathlib import Path

from retracker.checkpoint import load, save_safetensors


def main(argv: list[str] | None = None) -> int:
    """Export a checkpoint (its averaged weights, if it has them); returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help=".ckpt of a training run")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--half", action="store_true", help="store float16: half the size, loaded as float32")
    arguments = parser.parse_args(argv)
    try:
        net = load(arguments.checkpoint)
        save_safetensors(net, net.config, arguments.out, half=arguments.half)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"export_weights: {error}\n")
        return 2
    sys.stdout.write(f"{arguments.out}: {arguments.out.stat().st_size / 2**20:.2f} MiB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
