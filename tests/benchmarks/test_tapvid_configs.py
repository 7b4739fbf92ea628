"""The yamls of the TAP-Vid family find files where people put them."""

from pathlib import Path

import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from layouts.kubric import write_cotracker
from layouts.tapvid import write_davis, write_kinetics, write_rgb_stacking, write_robotap
from layouts.truth import rendered

from retracker.benchmarks.presence import found
from retracker.configuration import compose_config

CONFIGS = Path(__file__).parents[2] / "configs/benchmark"
WRITE = {
    "tapvid_davis": write_davis,
    "tapvid_rgb_stacking": write_rgb_stacking,
    "tapvid_kinetics": write_kinetics,
    "robotap": write_robotap,
}
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem.removesuffix("_strided") in WRITE)


def open_yaml(name, root):
    cfg = compose_config("eval", [f"benchmark={name}", f"data_root='{root}'", "quick=true"])
    return instantiate(cfg.benchmark)


@pytest.mark.parametrize("below", ["", "tapvid", "unpacked here"])
@pytest.mark.parametrize("name", NAMES)
def test_a_set_is_found_in_its_folder_and_without_one(tmp_path, name, below):
    subset = name.removesuffix("_strided")
    WRITE[subset](tmp_path / "tapvid" if below == "tapvid" else tmp_path, [rendered(11)])
    root = tmp_path / subset if below == "unpacked here" else tmp_path
    benchmark = open_yaml(name, root)
    assert benchmark.name == name and benchmark.protocol["input"] == "256 x 256"
    assert benchmark.query_mode == ("strided" if name.endswith("strided") else "first")
    assert benchmark.read(0).video.shape == (8, 3, 256, 256)
    assert len(found(str(root), benchmark_needs(name))) == 1


def benchmark_needs(name):
    return list(compose_config("eval", [f"benchmark={name}"]).benchmark.needs)


def test_kubrics_validation_is_found_and_its_training_is_not(tmp_path):
    write_cotracker(tmp_path / "kubric" / "train", [rendered(11)])
    with pytest.raises(InstantiationException, match="has nothing of CoTracker-Kubric validation"):
        open_yaml("kubric_val", tmp_path)
    write_cotracker(tmp_path / "kubric" / "validation", [rendered(12)])
    assert len(open_yaml("kubric_val", tmp_path)) == 1


def test_the_embedded_set_needs_nothing(tmp_path):
    assert len(open_yaml("synthetic_val", tmp_path)) == 6
