"""Training a FeatureBooster with the real configuration: it runs, resumes, learns, says what does not fit."""

import pair_layouts.megadepth_d2net
import pytest
import torch
from omegaconf import OmegaConf
from pair_layouts import still

from retracker.checkpoint import build_net, load_booster, read_torch
from retracker.configuration import compose_config
from retracker.models.descriptor import booster_inputs
from retracker.train import build_data, build_module, main

SMALL = (
    "+experiment=booster",
    "+debug=fast",
    "trainer.accelerator=cpu",
    "trainer.devices=1",
    "data.batch_size=2",
    "data.val_pairs=2",
    "data.min_known=4",
    "data.train.photographs.size=128",
    "data.val.size=128",
    "data.extractor.detector.max_keypoints=48",
)


def run(tmp_path, *overrides):
    return main([*SMALL, f"paths.output_dir={tmp_path}", *overrides])


def weights(folder):
    return read_torch(folder / "checkpoints" / "last.ckpt")["state_dict"]


def test_it_trains_with_nothing_given_and_leaves_a_booster_that_loads(tmp_path):
    assert run(tmp_path) == 0
    for name in ("last", "best"):
        booster = load_booster(tmp_path / "checkpoints" / f"{name}.ckpt")
        assert booster.binary and booster.final_proj.out_features == 256
    metrics = read_torch(tmp_path / "checkpoints" / "last.ckpt")["callbacks"]
    assert any(0 <= state.get("best", -1) <= 1 for state in metrics.values())


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(tmp_path):
    assert run(tmp_path / "whole") == 0
    assert run(tmp_path / "parts", "trainer.max_steps=2") == 0
    assert run(tmp_path / "parts", "resume=auto") == 0
    expected = weights(tmp_path / "whole")
    assert all(torch.equal(value, expected[name]) for name, value in weights(tmp_path / "parts").items())


def test_sift_trains_from_a_checkpoint(tmp_path):
    sift = ("model.preset=SIFT+Boost-F", "extractor@data.extractor=sift", "trainer.max_steps=1")
    assert run(tmp_path / "first", *sift) == 0
    first = tmp_path / "first" / "checkpoints" / "last.ckpt"
    cfg = compose_config("train", [*SMALL, *sift, f"ckpt={first}"])
    net = build_module(cfg, fresh=True).net
    expected = load_booster(first).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in net.state_dict().items())


def test_crops_of_megadepth_train_from_the_scene_files_of_d2_net(tmp_path):
    root = tmp_path / "data" / "megadepth"
    pair_layouts.megadepth_d2net.LAYOUT.write(root, [still(seed) for seed in (11, 12)])
    for name in ("train_scenes_disk.txt", "valid_scenes_disk.txt"):
        (root / name).write_text("\n".join(pair_layouts.megadepth_d2net.SCENES))
    posed = ["data=booster_megadepth", "model.preset=SIFT+Boost-F", "extractor@data.extractor=sift"]
    for part in ("train.megadepth", "val"):
        posed += [f"data.{part}.pairs.size=256", f"data.{part}.crop=160"]
    mine = [part for part in SMALL if "photographs" not in part and "val.size" not in part]
    places = [f"data_root={tmp_path / 'data'}", f"paths.output_dir={tmp_path}"]
    assert main([*mine, *posed, *places, "data.min_known=1", "trainer.max_steps=2"]) == 0
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.preset=SIFT+Boost-F"], "[128, 2] numbers, the extractor of data finds [256, 2]"),
        (["model.preset=orb-boost"], "orb-boost"),
        (["extractor@data.extractor=siift"], "siift"),
        (["module.loss.near=20"], "near <= far"),
        (["data.batch_size=0"], "batch_size must be"),
        (["data.min_known=0"], "min_known"),
        (
            ["pretrained=some/file.pth"],
            "a booster takes auto or none, and files by ckpt; got 'some/file.pth'",
        ),
        (["data=booster_megadepth", "data_root=nowhere"], "nowhere"),
        (
            ["callbacks=default"],
            "callbacks.pictures: of what a tracker finds, and the net is a FeatureBooster",
        ),
        (
            ["callbacks=matching"],
            "callbacks.pictures, callbacks.pose, callbacks.match_pictures: of what a tracker finds",
        ),
        (
            ["callbacks=matching", "~callbacks.pictures", "~callbacks.match_pictures"],
            "error: callbacks.pose: of what a tracker finds",
        ),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(overrides, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = [part for part in SMALL if "data." not in part] if "data=booster_megadepth" in overrides else SMALL
    assert main([*mine, f"paths.output_dir={tmp_path}", *overrides]) == 2
    error = capsys.readouterr().err
    assert message in error.strip().splitlines()[-1] and "Traceback" not in error


def test_the_released_name_of_orb_gets_bits_of_minus_one_and_one():
    """Public code looks for 'orb' in 'ORB+Boost-B': bits stay 0 and 1 there, and the boost loss 0."""
    pair = build_data(compose_config("train", SMALL)).stream[0]
    assert pair.features0.descriptors.unique().tolist() == [-1.0, 1.0]


@pytest.fixture(scope="module")
def pair():
    """One pair of images, as a batch."""
    data = build_data(compose_config("train", [*SMALL, "data.extractor.detector.max_keypoints=96"]))
    return data.collate([data.stream[0]])


def test_every_parameter_learns_and_a_pair_is_learnt_by_heart(pair):
    cfg = compose_config("train", SMALL)
    torch.manual_seed(0)
    module = build_module(cfg, fresh=True)
    optimiser = torch.optim.AdamW(module.net.parameters(), lr=1e-3)
    learnt = set()
    before = module._scores(module._boost(pair, module.net), pair)
    for _ in range(25):
        optimiser.zero_grad()
        module._loss(module._boost(pair, module.net), pair)[0].backward()
        learnt |= {n for n, p in module.net.named_parameters() if p.grad is not None and p.grad.any()}
        optimiser.step()
    after = module._scores(module._boost(pair, module.net), pair)
    # A key's bias does not change a softmax over keypoints.
    untouched = {name for name, _ in module.net.named_parameters()} - learnt
    assert all(name.endswith("attn.key.bias") for name in untouched)
    assert after["AP"].item() > max(before["AP"].item(), 1.3 * before["AP_raw"].item())
    assert before["AP_raw"] == after["AP_raw"] and before["MMA@3_raw"] == after["MMA@3_raw"]


def test_scores_of_raw_descriptors_do_not_depend_on_the_net_and_averaged_weights_count(pair):
    cfg = compose_config("train", SMALL)
    module = build_module(cfg, fresh=True)
    net = build_net(OmegaConf.to_container(cfg.model, resolve=True))
    module._boost(pair, net)
    module.setup("fit")
    module.average.weights = dict(net.named_parameters())
    module.validation_step(pair, 0)
    other = module._scores(module._boost(pair, net), pair)
    assert module.scores.values["AP"] == pytest.approx([other["AP"].item()], abs=1e-6)
    assert booster_inputs(pair.features0)[1].shape == (1, pair.moved0.shape[1], 4)
