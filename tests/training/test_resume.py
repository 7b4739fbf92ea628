"""A checkpoint that a training cannot go on from is refused in one line, before Lightning sees it."""

import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, save_safetensors
from retracker.configuration import compose_config
from retracker.train import checkpoint_to_resume, main
from retracker.training.average import trainable
from retracker.training.resume import NEEDED


@pytest.fixture(scope="module")
def config():
    return OmegaConf.to_container(compose_config("train", []).model, resolve=True)


@pytest.fixture
def checkpoint(config):
    """What a run of the default configuration leaves, as far as is looked at before Lightning loads it."""
    net = build_net(config)
    return dict.fromkeys(NEEDED, 0) | {
        "net_config": config,
        "state_dict": {f"net.{name}": value for name, value in net.state_dict().items()},
        "ema_state_dict": {name: p.detach() for name, p in trainable(net).items()},
    }


def resume(path, *overrides):
    return checkpoint_to_resume(compose_config("train", [f"resume={path}", *overrides]))


def test_a_checkpoint_of_the_same_net_is_taken(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert resume(tmp_path / "last.ckpt") == str(tmp_path / "last.ckpt")


def test_a_checkpoint_of_another_backbone_is_refused(checkpoint, tmp_path):
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"last.ckpt: .*it lacks backbone\..*it also has backbone\."):
        resume(tmp_path / "last.ckpt", "backbone@model.backbone=resnet18_fpn")


def test_resume_auto_looks_as_closely(checkpoint, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    del checkpoint["ema_state_dict"]["coarse.temperature"]
    torch.save(checkpoint, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match="its averaged tensors .*it lacks coarse.temperature"):
        resume("auto", f"paths.output_dir={tmp_path}")


@pytest.mark.parametrize("key", ["pytorch-lightning_version", "ema_state_dict", "optimizer_states", "loops"])
def test_a_checkpoint_without_what_training_needs_is_refused(checkpoint, key, tmp_path):
    del checkpoint[key]
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=f"last.ckpt: .*lacks {key}"):
        resume(tmp_path / "last.ckpt")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torn.ckpt", "torn.ckpt: "),
        ("text.ckpt", "text.ckpt: "),
        ("list.ckpt", "list.ckpt: "),
        ("foreign.ckpt", "foreign.ckpt: "),
        ("net.safetensors", "net.safetensors: holds weights only"),
        ("true", "resume: expected"),
        ("7", "resume: expected"),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(config, name, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.zeros(999)}}, "foreign.ckpt")
    torch.save([1, 2], "list.ckpt")
    (tmp_path / "torn.ckpt").write_bytes((tmp_path / "foreign.ckpt").read_bytes()[:900])
    (tmp_path / "text.ckpt").write_text("e is not a checkpoint")
    save_safetensors(build_net(config), config, "net.safetensors")
    assert main([f"resume={name}"]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last


def test_an_unknown_key_of_the_module_is_one_line(capsys):
    assert main(["+module.foo=1", "pretrained=none"]) == 2
    assert "'foo'" in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_output_directory_that_is_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "taken").touch()
    assert main(["pretrained=none", f"paths.output_dir={tmp_path / 'taken'}"]) == 2
    assert "taken" in capsys.readouterr().err.strip().splitlines()[-1]
