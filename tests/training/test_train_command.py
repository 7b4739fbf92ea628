import os
import shutil

import pytest
import torch
from omegaconf import OmegaConf

from retracker.checkpoint import build_net, fitted, save_safetensors
from retracker.configuration import compose_config, config_dir
from retracker.train import build_module, main, run_to_resume


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["totl_steps=3"], "totl_steps"),
        (["+experiment=trakcing"], "trakcing"),
        (["model=hughe"], "hughe"),
        (["data.batch_size=0"], "batch_size must be"),
        (["=3"], "override"),
        (["resume=nowhere.ckpt"], "nowhere.ckpt"),
        (["model.image_sise=3"], "image_sise"),
        (["attention=fast", "pretrained=none"], "attention kernel 'fast' is unknown; choose from auto, math"),
        (["recompute.encode=-1", "pretrained=none"], "recompute: expected numbers of frames"),
        (["+experiment=booster", "recompute.follow=1"], "recompute: only of trackers"),
        (["+experiment=tracking", "model=booster"], "model as chosen: for a FeatureBooster; module, loss@"),
        (
            ["+experiment=booster", "model=tiny"],
            "loss@module.loss as chosen: for a FeatureBooster; model: for",
        ),
        (
            ["loss@module.loss=booster"],
            "loss@module.loss as chosen: for a FeatureBooster; model, module: for",
        ),
        (
            ["data=booster_warped", "pretrained=none"],
            "error: data as chosen: for a FeatureBooster; model: for a tracker; choose all for the same net",
        ),
        (
            ["model.refiner.iterations=[2,2]"],
            "error: refiner.iterations: expected one number, or one for each of the backbone's levels",
        ),
        (["data.window.num_frames=0"], "error: data.window: window: num_frames and every stride"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(overrides, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(overrides) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("error: ")
    assert len([line for line in lines if "Traceback" in line]) == 0
    assert "Error in call to target" not in lines[-1]  # Hydra's way to say the same once more


def test_the_configuration_is_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (config_dir() / "train.yaml").is_file()
    assert compose_config("train", ["+experiment=tracking"]).name == "tracking"


def test_resume_auto_finds_the_run_that_was_left(tmp_path, monkeypatch):
    """Every start has an output directory of its own; what is to be resumed lies in an earlier one."""
    monkeypatch.setenv("RETRACKER_OUTPUTS", str(tmp_path))
    cfg = compose_config("train", ["+experiment=tracking", "resume=auto"])
    assert run_to_resume(cfg) is None
    own = fitted(OmegaConf.to_container(cfg.model))
    for day, name in ((1, "good"), (2, "torn"), (3, "other_net"), (4, "empty")):
        folder = tmp_path / "tracking" / name / "checkpoints"
        folder.mkdir(parents=True)
        if name != "empty":
            net_config = own if name != "other_net" else own | {"image_size": 7}
            torch.save({"net_config": net_config, "state_dict": {}}, folder / "last.ckpt")
            os.utime(folder / "last.ckpt", (day, day))
    torn = tmp_path / "tracking" / "torn" / "checkpoints" / "last.ckpt"
    assert run_to_resume(cfg) == tmp_path / "tracking" / "torn"
    torn.write_bytes(torn.read_bytes()[:100])
    with (
        pytest.warns(UserWarning, match="torn"),
        pytest.raises(ValueError, match="no .* of .*/torn, "),
    ):
        run_to_resume(cfg)  # an older run is not what was meant
    shutil.rmtree(torn.parents[1])
    assert run_to_resume(cfg) == tmp_path / "tracking" / "good"
    named = compose_config("train", [f"++paths.output_dir={tmp_path / 'mine'}", "resume=auto"])
    assert run_to_resume(named) is None


def test_fine_tuning_starts_from_the_weights_of_a_checkpoint(tmp_path):
    path = tmp_path / "net.safetensors"
    config = OmegaConf.to_container(compose_config("train", []).model, resolve=True)
    net = build_net(config)
    save_safetensors(net, config, path)
    cfg = compose_config("train", [f"ckpt={path}", f"paths.output_dir={tmp_path}"])
    torch.testing.assert_close(build_module(cfg, fresh=True).net.state_dict(), net.state_dict())
    with pytest.raises(ValueError, match="net.safetensors"):
        build_module(compose_config("train", [f"ckpt={path}", "model.refiner.dim=64"]), fresh=True)


def test_stopping_early_leaves_the_schedule_alone():
    cfg = compose_config("train", ["total_steps=500", "trainer.max_steps=20"])
    assert cfg.module.optimisation.schedule.total_steps == 500 and cfg.trainer.max_steps == 20
    assert compose_config("train", ["total_steps=500"]).trainer.max_steps == 500
