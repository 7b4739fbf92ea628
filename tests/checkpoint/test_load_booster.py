"""Boosters from files: ours, the authors' bare and nested ones, and what is no booster."""

import pytest
import torch
from safetensors.torch import save_file

from retracker.checkpoint import load, load_booster, save_safetensors, write_atomically
from retracker.models.booster_presets import PRESETS
from retracker.models.descriptor import build_booster

AS_RELEASED = {"keypoint_encoder": True, "cross_boosting": True, "attention": "aft", "dropout": 0.0}


def booster(preset="SIFT+Boost-F", **switches):
    torch.manual_seed(0)
    return build_booster(preset, **(AS_RELEASED | switches))


def saved(content, path):
    torch.save(content, path)
    return path


def config(preset, **switches):
    return {
        "_target_": "retracker.models.descriptor.build_booster",
        "preset": preset,
        **(AS_RELEASED | switches),
    }


def assert_same(net, expected):
    assert not net.training
    assert net.state_dict().keys() == expected.state_dict().keys()
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("preset", PRESETS)
def test_a_bare_file_of_tensors_is_known_by_its_shape(preset, tmp_path):
    net = booster(preset)
    found = load_booster(saved(net.state_dict(), tmp_path / f"my_{preset.lower()}.pth"))
    assert_same(found, net)
    assert found.config == config(preset)
    assert found.binary == preset.endswith("B")


def test_tensors_that_fit_a_float_and_a_binary_net_need_a_name(tmp_path):
    path = saved(booster("SuperPoint+Boost-B").state_dict(), tmp_path / "best.pth")
    with pytest.raises(ValueError, match=r"best.pth: .* fit SuperPoint\+Boost-F and SuperPoint\+Boost-B"):
        load_booster(path)


@pytest.mark.parametrize(
    "switches", [{"keypoint_encoder": False}, {"cross_boosting": False}, {"attention": "mha"}], ids=str
)
def test_ablations_nested_in_a_training_checkpoint_are_recognised(switches, tmp_path):
    net = booster("ORB+Boost-B", **switches)
    path = saved({"epoch": 3, "feature_booster": net.state_dict()}, tmp_path / "last.pth")
    found = load_booster(path)
    assert_same(found, net)
    assert found.config == config("ORB+Boost-B", **switches)


def test_ours_comes_back_from_both_kinds_of_file(tmp_path):
    net = booster("ORB+Boost-B")
    save_safetensors(net, config("ORB+Boost-B"), tmp_path / "net.safetensors")
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    write_atomically({"net_config": config("ORB+Boost-B"), "state_dict": state}, tmp_path / "net.ckpt")
    for name in ("net.safetensors", "net.ckpt"):
        assert_same(load_booster(tmp_path / name), net)
        assert_same(load(tmp_path / name), net)


def test_what_is_no_booster_is_refused_in_one_sentence(tmp_path):
    wide = {key: value for key, value in booster().state_dict().items()}
    wide["denc.encoder.0.weight"] = torch.zeros(300, 128)
    scalar = booster().state_dict() | {"final_proj.weight": torch.zeros(())}
    torn = booster().state_dict()
    del torn["attn_proj.layers.2.ffn.mlp.0.weight"]
    cases = {
        "list.pth": ([1, 2], "expected the weights of a FeatureBooster, it holds a list"),
        "words.pth": ({"epoch": 3}, "it holds a mapping of epoch"),
        "other.pth": ({"conv.weight": torch.zeros(3)}, "expected the tensors of a FeatureBooster"),
        "wide.pth": (wide, r"expected the shape of one of ORB\+Boost-B"),
        "scalar.pth": (scalar, r"expected the shape of one of ORB\+Boost-B"),
        "torn.pth": (torn, "it lacks attn_proj.layers.2.ffn.mlp.0.weight"),
    }
    for name, (content, complaint) in cases.items():
        with pytest.raises(ValueError, match=f"{name}: .*{complaint}") as error:
            load_booster(saved(content, tmp_path / name))
        assert "\n" not in str(error.value)


def test_other_files_of_ours_are_named_for_what_they_hold(tmp_path):
    with pytest.raises(
        ValueError, match=r"tiny.safetensors: expected a FeatureBooster, it holds a ReTracker"
    ):
        load_booster("tiny")
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match=r"foreign.safetensors: not a ReTracker checkpoint"):
        load_booster(tmp_path / "foreign.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint 'orb_bost'"):
        load_booster("orb_bost")
