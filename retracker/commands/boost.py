"""``retracker boost``: find the keypoints of images and strengthen their descriptors (FeatureBooster)."""

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from retracker.checkpoint import load_booster
from retracker.commands.extractors import EXTRACTORS
from retracker.commands.shell import (
    OneLineParser,
    check_folder,
    check_positive,
    complain,
    exit_code,
    find_device,
    say,
)
from retracker.host import MISTAKE
from retracker.media.features import read_features, write_features
from retracker.media.image import read_image
from retracker.models.descriptor import FeatureBooster, boost
from retracker.types import LocalFeatures

PROGRAM = "retracker boost"
FILE = "file"  # the descriptor that stands for features found by others
NO_BOOSTER = (
    "--ckpt: expected the weights of a FeatureBooster for these descriptors, since none are packaged: "
    "a .ckpt of retracker train +experiment=booster, or a .pth that FeatureBooster's authors published"
)
# Finds, or reads, the keypoints of an image that lies in a file.
Find = Callable[[Path, UInt8[Tensor, "3 H W"]], LocalFeatures]


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments and boost; returns the exit code."""
    arguments = _parser().parse_args(argv)
    return exit_code(PROGRAM, lambda: run(arguments))


def run(arguments: argparse.Namespace) -> int:
    """Boost each image by itself; one that cannot be is told, and the rest go on. Returns the exit code."""
    check_folder("--out", arguments.out)
    check_positive("--max-keypoints", arguments.max_keypoints)
    _check_names(arguments.images)
    if arguments.ckpt is None:
        raise ValueError(NO_BOOSTER)
    place = find_device(arguments.device)
    booster = load_booster(arguments.ckpt).to(place)
    find, failed = _finder(arguments), 0
    if arguments.descriptor != FILE:
        _check_fit(
            booster, find, f"--ckpt {arguments.ckpt} does not go with --descriptor {arguments.descriptor}"
        )
    for path in arguments.images:
        written = arguments.out / f"{path.stem}_{arguments.descriptor}_boosted.npz"
        try:
            boosted = boost_image(booster, find, path)
        except (ValueError, OSError) as error:
            complain(PROGRAM, error)
            failed += 1
            continue
        image, detector = str(path), arguments.descriptor
        write_features(written, boosted, binary=booster.binary, image=image, detector=detector)
        found = len(boosted.xy)
        say(f"{path}: {found} keypoints boosted, wrote {written}" if found else _nothing(path, written))
    return MISTAKE if failed else 0


def boost_image(booster: FeatureBooster, find: Find, path: Path) -> LocalFeatures:
    """The keypoints of an image with boosted descriptors, on the CPU. Raises ValueError naming the image."""
    features = find(path, read_image(path))
    device = next(booster.parameters()).device
    try:
        with torch.inference_mode():
            descriptors = boost(booster, features.to(device)).cpu()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return replace(features, descriptors=descriptors)


def _finder(arguments: argparse.Namespace) -> Find:
    if arguments.descriptor != FILE:
        extract = EXTRACTORS[arguments.descriptor](arguments.max_keypoints)
        return lambda path, image: extract(image)  # noqa: ARG005 - the pixels say all

    def read(path: Path, image: UInt8[Tensor, "3 H W"]) -> LocalFeatures:
        stored = (arguments.features or path.parent) / f"{path.stem}{arguments.suffix}"
        height, width = image.shape[-2:]
        features = read_features(stored, (height, width), arguments.pixel_centre)
        best = slice(arguments.max_keypoints)
        return replace(
            features,
            xy=features.xy[best],
            geometry=features.geometry[best],
            descriptors=features.descriptors[best],
            present=features.present[best],
        )

    return read


def _check_fit(booster: FeatureBooster, find: Find, complaint: str) -> None:
    nothing = find(Path(), torch.zeros(3, 64, 64, dtype=torch.uint8))  # no keypoints, but their widths
    try:
        boost(booster, nothing.to(next(booster.parameters()).device))
    except ValueError as error:
        raise ValueError(f"{complaint}: {error}") from error


def _check_names(images: list[Path]) -> None:
    name, count = Counter(path.stem for path in images).most_common(1)[0]
    if count > 1:
        raise ValueError(f"{count} of the images are called {name!r}: they would be written to one file")


def _nothing(path: Path, written: Path) -> str:
    return f"{path}: no keypoints, the image shows nothing that could be found again; wrote {written}"


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog=PROGRAM, description="Strengthen the descriptors of images by FeatureBooster."
    )
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    parser.add_argument(
        "--descriptor",
        choices=(*EXTRACTORS, FILE),
        required=True,
        help="what finds the keypoints; file: somebody else did, see --features and --suffix",
    )
    parser.add_argument(
        "--ckpt",
        metavar="FILE",
        help="the booster (required): of retracker train +experiment=booster, or a released .pth",
    )
    parser.add_argument("--out", type=Path, default=Path("."), help="folder for what is written")
    parser.add_argument("--max-keypoints", type=int, default=2048, metavar="N", help="the strongest N")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--features",
        type=Path,
        metavar="DIR",
        help="where the files of features are (default: by the images)",
    )
    parser.add_argument("--suffix", default=".npz", help="those of x.jpg are in x<SUFFIX> (default: .npz)")
    parser.add_argument(
        "--pixel-centre",
        type=float,
        choices=(0.0, 0.5),
        default=0.0,
        help="what they call the centre of the upper-left pixel (default: 0)",
    )
    return parser
