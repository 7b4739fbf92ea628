"""Which room may import from which, and from whom outside. Change the table to change the architecture."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import retracker

PACKAGE = Path(retracker.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TENSORS = {"torch", "jaxtyping", "einops"}
# Standard modules that reach files, the network, processes or the log.
OUTSIDE = {
    "glob",
    "http",
    "io",
    "logging",
    "os",
    "pathlib",
    "pickle",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "urllib",
}
DOORS = {
    "commands",
    "configuration",
    "endings",
    "resuming",
    "train",
    "eval",
    "__init__",
    "__main__",
}  # may import everything; no room imports them
ROOMS = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}


@dataclass(frozen=True)
class Rule:
    """What a room may import: ``rooms`` of retracker, ``packages``, the standard library but ``never``."""

    rooms: frozenset[str] | set[str]
    packages: frozenset[str] | set[str]
    never: frozenset[str] | set[str] = frozenset({"logging", "pickle"})


TABLE = {
    "types": Rule(set(), {"torch", "jaxtyping"}, OUTSIDE),
    "host": Rule(set(), set()),
    "geometry": Rule({"types"}, TENSORS, OUTSIDE),
    "media": Rule({"types"}, TENSORS | {"numpy", "av", "cv2", "PIL", "h5py"}),
    "models": Rule({"types", "geometry"}, TENSORS, OUTSIDE),
    "models/backbones": Rule({"types", "geometry"}, TENSORS | {"timm", "kornia"}, OUTSIDE),
    "models/layers/kernels.py": Rule({"types", "geometry"}, TENSORS | {"flash_attn"}, OUTSIDE),
    "losses": Rule({"types", "geometry"}, TENSORS, OUTSIDE),
    "metrics": Rule({"types", "geometry"}, TENSORS | {"numpy"}, OUTSIDE),
    "data": Rule(
        {"types", "geometry", "media", "host"}, TENSORS | {"numpy", "cv2", "h5py", "fsspec", "skimage"}
    ),
    # pickle: to restrict its unpickler.
    "data/safe_pickle.py": Rule({"media"}, {"numpy"}, {"logging"}),
    "data/mapped_pickle.py": Rule({"media"}, {"numpy"}, {"logging"}),
    "data/datamodule.py": Rule({"types", "geometry", "media"}, TENSORS | {"numpy", "pytorch_lightning"}),
    "data/stream_module.py": Rule({"types"}, {"torch", "pytorch_lightning"}),
    "benchmarks": Rule(
        {"types", "geometry", "metrics", "data", "media", "visualize"},
        TENSORS | {"numpy", "cv2", "rich", "yaml"},
        {"pickle"},
    ),
    "inference": Rule({"types", "geometry", "models", "media", "checkpoint"}, TENSORS | {"numpy"}),
    "inference/corners.py": Rule(set(), {"torch", "jaxtyping", "numpy", "cv2"}),
    "inference/exported.py": Rule(set(), {"numpy", "onnxruntime"}),
    "inference/verification.py": Rule({"types"}, {"torch", "jaxtyping", "numpy", "cv2"}),
    # It is given trackers as callables, as benchmarks are.
    "labelling": Rule(
        {"types", "geometry", "media", "data", "benchmarks", "inference"},
        TENSORS | {"numpy", "cv2"},
        {"logging", "pickle"},
    ),
    "training": Rule(
        {"types", "models", "losses", "metrics", "visualize", "checkpoint", "host"},
        TENSORS | {"numpy", "pytorch_lightning", "rich"},
        {"pickle"},
    ),
    "training/history.py": Rule(set(), {"tensorboard"}),
    "launch": Rule({"host"}, {"torch", "lightning_fabric", "pytorch_lightning"}, {"pickle"}),
    "visualize": Rule({"types", "geometry", "media"}, TENSORS | {"numpy", "cv2", "PIL"}),
    "visualize/curves.py": Rule({"media"}, {"matplotlib"}),
    "visualize/reliability.py": Rule(set(), {"matplotlib"}),
    # pickle: for the name of the error that torch.load raises.
    "demo": Rule(
        {"types", "inference", "media", "visualize"},
        {"torch", "jaxtyping", "numpy", "cv2", "starlette", "uvicorn"},
    ),
    "checkpoint": Rule(
        {"types", "models", "backbone_weights", "booster_weights", "checkpoint_files"},
        {"torch", "safetensors"},
        {"logging"},
    ),
    "checkpoint_files": Rule({"backbone_weights", "host"}, {"torch"}, {"logging"}),
    "backbone_weights": Rule({"types", "models"}, {"torch", "safetensors", "huggingface_hub"}, {"logging"}),
    "booster_weights": Rule({"models"}, {"torch"}, {"logging", "pickle"}),
    "weights": Rule(set(), set(), OUTSIDE),
}


def rule_of(file: str) -> Rule | None:
    """The longest entry of the table that ``file`` lies under; None for a door, which may import all."""
    found = [
        entry for entry in TABLE if f"{file.removesuffix('.py')}/".startswith(f"{entry.removesuffix('.py')}/")
    ]
    if not found and file.split("/")[0].removesuffix(".py") in DOORS:
        return None
    assert found, f"{file} stands in no room of the table"
    return TABLE[max(found, key=len)]


def imported(source: str) -> Iterator[str]:
    """The full name of everything a file imports: module and, behind ``from``, what is taken from it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken_rules(file: str, source: str) -> list[str]:
    """Each import of ``file`` (its path in the package) that its room's rule does not allow."""
    rule, own = rule_of(file), file.split("/")[0].removesuffix(".py")
    broken = []
    for name in imported(source):
        top, _, rest = name.partition(".")
        inner = rest.partition(".")[0]
        if rule is None:
            fine = True
        elif top == "retracker":
            room = inner if inner in ROOMS else "__init__"
            fine = room == own or room in rule.rooms
        else:
            fine = top in rule.packages or (top in sys.stdlib_module_names and top not in rule.never)
        broken += [] if fine else [f"{file} may not import {name}"]
    return broken


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_room_imports_only_through_its_doors(path):
    assert broken_rules(path.relative_to(PACKAGE).as_posix(), path.read_text()) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("types.py", "from retracker.geometry import coords"),
        ("geometry/coords.py", "from pathlib import Path"),
        ("models/tracker.py", "import logging"),
        ("models/tracker.py", "import numpy as np"),
        ("models/tracker.py", "import timm"),
        ("models/coarse.py", "from retracker.data.synthetic import render"),
        ("losses/focal.py", "from retracker.models import tracker"),
        ("data/mixture.py", "import pytorch_lightning"),
        ("data/mixture.py", "from retracker import training"),
        ("training/module.py", "from retracker.data.datamodule import DataModule"),
        ("training/module.py", "import hydra"),
        ("benchmarks/runner.py", "from retracker.models.tracker import ReTracker"),
        ("inference/clip.py", "from retracker import load"),
        ("benchmarks/runner.py", "from retracker.eval import main"),
        ("checkpoint.py", "from retracker.training.module import TrackingModule"),
    ],
)
def test_the_table_refuses_what_the_architecture_forbids(file, line):
    assert len(broken_rules(file, line)) == 1


def test_backbones_alone_may_know_the_model_libraries():
    assert broken_rules("models/backbones/xfeat.py", "import kornia\nimport timm") == []


def test_a_file_outside_every_room_is_refused():
    with pytest.raises(AssertionError, match="no room"):
        rule_of("helpers.py")
