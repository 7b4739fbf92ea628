"""Look at rendered clips: a contact sheet (PNG), one clip a row, with their tracks."""

import argparse
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.data.synthetic import ClipSettings, render
from retracker.media.image import write_image
from retracker.types import VideoSample

DOT = 1  # radius, px


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the PNG to write")
    parser.add_argument("--difficulty", default="train")
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=24)
    parser.add_argument("--plain", action="store_true", help="no dots")
    arguments = parser.parse_args()
    settings = ClipSettings(
        difficulty=arguments.difficulty,
        num_frames=arguments.frames,
        num_points=arguments.points,
        height=arguments.size,
        width=arguments.size,
    )
    sample = render(range(arguments.seed, arguments.seed + arguments.clips), settings)
    picked = torch.linspace(0, arguments.frames - 1, arguments.columns).round().long()
    rows = [sheet_row(sample, clip, picked, dots=not arguments.plain) for clip in range(arguments.clips)]
    write_image(arguments.out, torch.cat(rows, dim=1))


def sheet_row(sample: VideoSample, clip: int, picked: Tensor, *, dots: bool) -> UInt8[Tensor, "3 H W"]:
    """Some frames of one clip side by side; a dot per point, filled where visible, dark where hidden."""
    frames = sample.video[clip, picked].clone()
    colours = (
        torch.rand(sample.tracks.shape[2], 3, generator=torch.Generator().manual_seed(0)) * 205 + 50
    ).byte()
    if dots:
        for frame, time in zip(frames, picked.tolist(), strict=True):
            _draw_dots(frame, sample.tracks[clip, time], sample.visible[clip, time], colours)
    return torch.cat(list(frames), dim=2)


def _draw_dots(frame: UInt8[Tensor, "3 H W"], xy: Tensor, visible: Tensor, colours: Tensor) -> None:
    height, width = frame.shape[1:]
    for (x, y), seen, colour in zip(xy.long().tolist(), visible.tolist(), colours, strict=True):
        if DOT <= x < width - DOT and DOT <= y < height - DOT:
            patch = frame[:, y - DOT : y + DOT + 1, x - DOT : x + DOT + 1]
            patch[:] = 0
            (patch if seen else patch[:, 1:2, 1:2])[:] = colour[:, None, None]


if __name__ == "__main__":
    main()
