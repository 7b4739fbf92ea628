"""A net is rebuilt from its file alone, and from nothing that could run code."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import retracker
from retracker import checkpoint
from retracker.checkpoint import build_net, load, newest_valid, save_safetensors, write_atomically

CONFIGS = Path(retracker.__file__).parents[1] / "configs"


@pytest.fixture(scope="module")
def config():
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("eval", ["model=tiny"]).model, resolve=True)


@pytest.fixture(scope="module")
def tiny(config):
    return build_net(config).eval()


@pytest.fixture
def lightning(tiny, config):
    """What a training run saves: the net under "net.", next to tensors that are not the net's."""
    state = {f"net.{name}": value for name, value in tiny.state_dict().items()}
    return {"state_dict": state | {"loss.weight": torch.ones(1)}, "net_config": config, "global_step": 3}


def assert_same_weights(a, b):
    torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=0, atol=0)


def test_a_lightning_checkpoint_comes_back_with_its_configuration(lightning, tiny, config, tmp_path):
    write_atomically(lightning, tmp_path / "last.ckpt")
    net = load(tmp_path / "last.ckpt")
    assert_same_weights(net, tiny)
    assert net.config == config and not net.training


def test_safetensors_come_back_bit_for_bit(tiny, config, tmp_path):
    save_safetensors(tiny, config, tmp_path / "net.safetensors")
    assert_same_weights(load(str(tmp_path / "net.safetensors")), tiny)


def test_half_files_are_half_as_big_and_come_back_as_float32(tiny, config, tmp_path):
    save_safetensors(tiny, config, tmp_path / "net.safetensors")
    save_safetensors(tiny, config, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.safetensors", "net.safetensors")]
    assert sizes[0] < 0.55 * sizes[1]
    net = load(tmp_path / "half.safetensors")
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    close = {
        name: value.half().float() for name, value in tiny.state_dict().items() if value.is_floating_point()
    }
    for name, value in close.items():
        assert torch.equal(net.state_dict()[name], value), name


def test_half_refuses_what_it_cannot_hold(config, tmp_path):
    net = build_net(config)
    with torch.no_grad():
        next(net.parameters()).fill_(1e6)
    with pytest.raises(ValueError, match="float16"):
        save_safetensors(net, config, tmp_path / "half.safetensors", half=True)
    assert not list(tmp_path.iterdir())


def test_averaged_weights_are_preferred_and_buffers_filled_in(lightning, tiny, tmp_path):
    parameters = {name: value.detach() + 1 for name, value in tiny.named_parameters()}
    write_atomically(lightning | {"ema_state_dict": parameters}, tmp_path / "last.ckpt")
    net = load(tmp_path / "last.ckpt")
    name, value = next(iter(tiny.named_parameters()))
    assert torch.equal(net.get_parameter(name), value + 1)


def test_a_checkpoint_without_one_tensor_is_refused_with_its_name(lightning, tmp_path):
    name = next(key for key in lightning["state_dict"] if key.startswith("net.refiner"))
    del lightning["state_dict"][name]
    write_atomically(lightning, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=f"last.ckpt.* lacks {name.removeprefix('net.')}"):
        load(tmp_path / "last.ckpt")


def test_a_tensor_too_many_or_of_another_shape_is_refused(lightning, tmp_path):
    name = next(key for key in lightning["state_dict"] if key.startswith("net.refiner"))
    lightning["state_dict"][name] = torch.zeros(3, 3, 3)
    lightning["state_dict"]["net.stray"] = torch.zeros(1)
    write_atomically(lightning, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"also has stray; shapes differ: .* \(3, 3, 3\) instead of"):
        load(tmp_path / "last.ckpt")


@pytest.mark.parametrize("foreign", [{"model": {}}, {"state_dict": {}, "epoch": 1}, [1, 2], torch.zeros(2)])
def test_a_checkpoint_of_another_model_is_refused(foreign, tmp_path):
    torch.save(foreign, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="other.ckpt: not a ReTracker checkpoint"):
        load(tmp_path / "other.ckpt")


def test_safetensors_of_another_model_are_refused(tmp_path):
    from safetensors.torch import save_file  # noqa: PLC0415

    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a ReTracker checkpoint"):
        load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("name", ["net.ckpt", "net.safetensors"])
def test_a_torn_file_is_refused_in_one_sentence(lightning, tiny, config, name, share, tmp_path):
    path = tmp_path / name
    write_atomically(lightning, path) if name.endswith("ckpt") else save_safetensors(tiny, config, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"{name}: ") as caught:
        load(path)
    assert "\n" not in str(caught.value)


class Payload:
    """Unpickling it would call os.mkdir: what a hostile checkpoint does."""

    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_pickled_code_is_refused_and_not_run(lightning, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(lightning | {"extra": Payload()}, "evil.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(Payload()))
    for name in ("evil.ckpt", "plain.ckpt"):
        with pytest.raises(ValueError, match=f"{name}: refused"):
            load(name)
    assert not Path("owned").exists()


@pytest.mark.parametrize(
    "target",
    ["os.system", "torch.nn.Linear", "retracker.data.Anything", "retracker.modelsx.Net", 3, None]
    + ["retracker.models.tracker.torch", "retracker.models.tracker.rearrange", "retracker.models.tracker.nn"],
)
def test_only_parts_of_the_models_are_built(target):
    with pytest.raises(ValueError, match="config"):
        build_net({"_target_": target})


def test_a_nested_foreign_target_is_refused_with_its_place(config):
    hostile = config | {"choice": {"_target_": "subprocess.run", "args": ["true"]}}
    with pytest.raises(ValueError, match=r"config\.choice.*subprocess\.run"):
        build_net(hostile)


def test_unknown_missing_and_underscored_keys_are_named(config):
    with pytest.raises(ValueError, match=r"takes no image_sise; it takes .*image_size"):
        build_net(config | {"image_sise": 3})
    with pytest.raises(ValueError, match="needs image_size"):
        build_net({key: value for key, value in config.items() if key != "image_size"})
    with pytest.raises(ValueError, match="_partial_"):
        build_net(config | {"_partial_": True})


def test_building_leaves_the_configuration_as_it_was(config):
    before = OmegaConf.to_yaml(config)
    build_net(config)
    assert OmegaConf.to_yaml(config) == before


def test_an_unknown_name_lists_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="'tinny'.*packaged name"):
        load("tinny")
    with pytest.raises(FileNotFoundError, match="directory"):
        load(tmp_path)


def test_a_failed_write_keeps_the_file_before_and_leaves_nothing_behind(lightning, tmp_path):
    path = tmp_path / "last.ckpt"
    write_atomically(lightning, path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="refused"):
        write_atomically(lightning | {"extra": Path("x")}, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_the_newest_whole_checkpoint_is_chosen_and_torn_ones_are_named(lightning, tmp_path):
    for age, name in ((300, "old.ckpt"), (200, "middle.ckpt"), (100, "torn.ckpt")):
        write_atomically(lightning, tmp_path / name)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    content = (tmp_path / "torn.ckpt").read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(content[: len(content) // 2])
    os.utime(tmp_path / "torn.ckpt", (1e9, 1e9))
    with pytest.warns(UserWarning, match="torn.ckpt"):
        assert newest_valid(tmp_path) == tmp_path / "middle.ckpt"


def test_where_there_is_no_checkpoint_there_is_none_to_resume(tmp_path):
    assert newest_valid(tmp_path) is None
    assert newest_valid(tmp_path / "not yet there") is None


def test_the_packaged_weights_load_by_name():
    for path in checkpoint._packaged():
        assert load(path.stem).config["_target_"] == "retracker.models.tracker.ReTracker"


def test_no_first_byte_of_a_text_file_escapes_as_another_error(tmp_path):
    path = tmp_path / "text.ckpt"
    for first in range(256):
        for rest in (b"", b"his is a text file\n"):  # the unpickler takes each byte for an instruction
            path.write_bytes(bytes([first]) + rest)
            with pytest.raises(ValueError, match="text.ckpt: "):
                checkpoint.read_torch(path)
