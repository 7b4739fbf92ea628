"""Which site a machine belongs to, and what that means for data and outputs."""

import pytest
from omegaconf import OmegaConf

from retracker.commands.sites import choose, main, sites
from retracker.configuration import compose_config

ROOTS = ("RETRACKER_DATA", "RETRACKER_OUTPUTS", "RETRACKER_SITE", "SCRATCH")


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    for name in ROOTS:
        monkeypatch.delenv(name, raising=False)


def site(hosts=(), folder=""):
    return OmegaConf.create({"paths": {"hosts": list(hosts), "folder": str(folder)}})


def test_a_machine_that_nothing_is_known_of_has_the_default():
    assert choose(sites(), {}, "laptop") == "default"


def test_a_site_is_named_or_recognised_by_its_hosts_or_by_a_folder(tmp_path):
    found = {
        "default": site(),
        "lab": site(["gpu*.lab"]),
        "disk": site(folder=tmp_path),
        "no": site(folder="/-"),
    }
    assert choose(found, {}, "gpu7.lab") == "lab"
    assert choose(found, {}, "laptop") == "disk"
    assert choose(found, {"RETRACKER_SITE": "no"}, "gpu7.lab") == "no"


def test_an_unknown_site_and_one_of_two_that_fit_are_refused():
    found = {"default": site(), "a": site(["n*"]), "b": site(["*1"])}
    with pytest.raises(ValueError, match="there is no site 'c'; configs/paths has default, a, b"):
        choose(found, {"RETRACKER_SITE": "c"}, "n1")
    with pytest.raises(ValueError, match="a and b: say RETRACKER_SITE"):
        choose(found, {}, "n1")


def test_the_scratch_site_is_recognised_by_its_folder_and_composes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SCRATCH", str(tmp_path))
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines() == ["slurm_scratch", f"{tmp_path}/retracker/data"]
    cfg = compose_config("train", ["paths=slurm_scratch", "name=n"])
    assert cfg.data_root == f"{tmp_path}/retracker/data"
    assert cfg.paths.output_dir.startswith(f"{tmp_path}/retracker/outputs/n/")


@pytest.mark.parametrize("name", sites())
def test_the_environment_wins_over_every_site(name, monkeypatch):
    monkeypatch.setenv("RETRACKER_DATA", "/d")
    monkeypatch.setenv("RETRACKER_OUTPUTS", "/o")
    monkeypatch.setenv("RETRACKER_DATE", "mine")
    for command in ("train", "eval"):
        cfg = compose_config(command, [f"paths={name}"])
        assert cfg.data_root == "/d" and cfg.paths.output_dir != "outputs"
    assert compose_config("train", [f"paths={name}", "name=n"]).paths.output_dir == "/o/n/mine"
