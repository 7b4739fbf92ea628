"""Any backbone goes with the default model by one override; what cannot go together is said in a sentence."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import retracker
from retracker.checkpoint import build_net, fitted, load, same_net, save_safetensors
from retracker.configuration import compose_config
from retracker.train import build_module, main

BACKBONES = sorted(path.stem for path in (Path(__file__).parents[2] / "configs" / "backbone").glob("*.yaml"))
SMALL = ["dinov2_small", "dinov2_small_resnet18", "dinov3_small", "resnet18_fpn", "vgg19_bn", "xfeat"]


def config_of(backbone, *overrides):
    chosen = [f"backbone@model.backbone={backbone}", *overrides]
    return OmegaConf.to_container(compose_config("train", chosen).model, resolve=True)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_fits_the_tiny_model_by_one_override(backbone):
    with torch.device("meta"):
        net = build_net(config_of(backbone))
        features = net.backbone(torch.zeros(1, 3, 64, 64))
    assert features.levels[0].map.shape[1] == net.coarse.channels
    assert net.refiner.iterations == [2] * len(features.levels)


@pytest.mark.parametrize("backbone", SMALL)
def test_a_chosen_backbone_tracks(backbone, batch):
    torch.manual_seed(0)
    net = build_net(config_of(backbone)).eval()
    with torch.inference_mode():
        prediction = net(batch.video[:, :2], batch.queries)
    assert prediction.tracks.shape == (2, 2, 7, 2)
    assert prediction.tracks.isfinite().all()


def test_the_booster_in_the_model_takes_the_backbones_channels_too():
    with torch.device("meta"):
        net = build_net(config_of("resnet18_fpn", "descriptor@model.descriptor=booster", "model=small"))
    assert net.descriptor.booster.final_proj.out_features == net.coarse.channels == 192


def test_what_is_left_to_the_backbone_is_stated_in_what_a_checkpoint_keeps(tmp_path):
    cfg = compose_config(
        "train", ["backbone@model.backbone=resnet18_fpn", "pretrained=none", f"paths.output_dir={tmp_path}"]
    )
    module = build_module(cfg, fresh=True)
    kept = module.net_config
    assert (kept["coarse"]["channels"], kept["refiner"]["iterations"]) == (256, [2, 2, 2])
    assert fitted(kept) == kept
    save_safetensors(module.net, kept, tmp_path / "net.safetensors")
    assert load(tmp_path / "net.safetensors").config == kept


def test_the_shipped_net_states_what_the_default_leaves_to_its_backbone():
    shipped = retracker.load("tiny").config
    own = fitted(config_of("xfeat"))
    for part in ("backbone", "coarse", "refiner", "memory"):
        assert same_net(own[part], shipped[part]), part


def test_leaving_numbers_to_the_backbone_draws_no_random_ones():
    left = config_of("xfeat")
    torch.manual_seed(0)
    net = build_net(left)
    torch.manual_seed(0)
    stated = build_net(fitted(left))
    torch.testing.assert_close(net.state_dict(), stated.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["coarse.channels=64"], r"coarse.channels: expected 256, those of level 0 .* got 64; null takes"),
        (["coarse.level=3"], r"coarse.level: expected 0 to 2, .*\[256, 192, 64\] channels, got 3"),
        (
            ["refiner.iterations=[2,2]"],
            r"refiner.iterations: expected one number, or one for each .*\[2, 2\]",
        ),
        (["refiner.iterations=[2,0,2]"], r"refiner.iterations: expected 1 or more .* \[2, 0, 2\]"),
        (["refiner.heads=0"], "refiner.heads: expected 1 or more, got 0"),
        (["most_enlarged=-1"], "most_enlarged: expected a factor of 1 or more, or null, got -1"),
        (["image_size=0"], "image_size: expected a number of px, 1 or more, got 0"),
        (["refiner.heads=3"], r"refiner.dim: expected a multiple of 2 x 3 heads, got 128"),
        (["refiner.memory_size=2"], r"refiner.memory_size: expected memory.size, 3, got 2"),
    ],
)
def test_parts_that_contradict_each_other_are_one_sentence(overrides, message):
    config = config_of("resnet18_fpn", *(f"model.{override}" for override in overrides))
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        build_net(config)


def test_the_command_ends_with_code_2_where_the_backbone_lacks_the_levels(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["model=small", "backbone@model.backbone=dinov2_small", "pretrained=none"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("error: coarse.level: expected 0 to 0") and "Traceback" not in said
