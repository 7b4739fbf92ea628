import pytest

from retracker.configuration import compose_config, config_dir
from retracker.train import main


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
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(overrides, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(overrides) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("error: ")
    assert len([line for line in lines if "Traceback" in line]) == 0


def test_the_configuration_is_found_from_any_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (config_dir() / "train.yaml").is_file()
    assert compose_config("train", ["+experiment=tracking"]).name == "tracking"


def test_stopping_early_leaves_the_schedule_alone():
    cfg = compose_config("train", ["total_steps=500", "trainer.max_steps=20"])
    assert cfg.module.optimisation.schedule.total_steps == 500 and cfg.trainer.max_steps == 20
    assert compose_config("train", ["total_steps=500"]).trainer.max_steps == 500
