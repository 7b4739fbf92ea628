"""Every yaml composes, and every key of it reaches a constructor or is read: none is a lie."""

import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
YAMLS = sorted(CONFIGS.rglob("*.yaml"))
BASES = [path.stem for path in YAMLS if path.parent == CONFIGS]
CHOICES = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in YAMLS if path.parent != CONFIGS]
ADDED = ("experiment", "debug")  # groups without an entry in the defaults list: chosen with "+"
OTHER = ("train", "+experiment=booster")  # trains another kind of net, from groups of its own
DOORS = (ROOT / "retracker/train.py", ROOT / "retracker/eval.py", *(ROOT / "retracker/commands").glob("*.py"))


def compose_config(base: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return compose(base, overrides=list(overrides))


@functools.cache
def mounts(base: str, *overrides: str) -> dict[str, set[str]]:
    """What overrides each group of a configuration: {"backbone": {"backbone@model.backbone"}, ...}."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        defaults = loader.compute_defaults_list(base, list(overrides), RunMode.RUN)
        return defaults.overrides.known_choices_per_group


def ways_to_choose(choice: str) -> list[tuple[str, ...]]:
    """Each (base, override, ...) that brings one yaml of a group into a configuration."""
    group, _, name = choice.rpartition("/")
    if group in ADDED:
        return [("train", f"+{group}={name}")]
    found = [(base, f"{key}={name}") for base in BASES for key in sorted(mounts(base).get(group, ()))]
    return found or [(*OTHER, f"{key}={name}") for key in sorted(mounts(*OTHER).get(group, ()))]


def configurations() -> list[tuple[str, ...]]:
    """The bases as they are, and each with every yaml that can be chosen in it."""
    return [(base,) for base in BASES] + [way for choice in CHOICES for way in ways_to_choose(choice)]


def children(node: BaseContainer) -> Iterator[tuple[object, object]]:
    keys = range(len(node)) if isinstance(node, ListConfig) else list(node)
    return ((key, node._get_node(key)) for key in keys)  # the node itself: interpolations stay as written


def constructors(node: object, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every dict of a configuration that names what is built from it, with its dotted path."""
    if isinstance(node, DictConfig) and "_target_" in node:
        yield path, node
    if isinstance(node, BaseContainer) and not node._is_interpolation() and not node._is_none():
        for key, child in children(node):
            yield from constructors(child, f"{path}.{key}".lstrip("."))


def settings(node: DictConfig, path: str = "") -> Iterator[str]:
    """The dotted path of every value that is no constructor's: somebody must read it."""
    for key, child in children(node):
        here = f"{path}.{key}".lstrip(".")
        if not isinstance(child, DictConfig) or child._is_interpolation() or child._is_none():
            yield here
        elif "_target_" not in child:
            yield from settings(child, here)


@functools.cache
def texts() -> tuple[str, str]:
    """The code of the commands, and all of the yaml."""
    code = "\n".join(door.read_text() for door in DOORS if door.exists())
    return code, "\n".join(file.read_text() for file in YAMLS)


@functools.cache
def is_read(path: str) -> bool:
    """Whether a command reads ``cfg.path``, or another key is made from it."""
    code, yaml = texts()
    return bool(
        re.search(rf"\bcfg\.{re.escape(path)}\b", code) or re.search(rf"\$\{{{re.escape(path)}}}", yaml)
    )


@pytest.mark.parametrize("choice", CHOICES)
def test_every_yaml_can_be_chosen(choice):
    assert ways_to_choose(choice) != [], f"no defaults list has the group of configs/{choice}.yaml"


@pytest.mark.parametrize("configuration", configurations(), ids=" ".join)
def test_every_key_reaches_a_constructor_or_is_read(configuration):
    cfg = compose_config(*configuration)
    for path, node in constructors(cfg):
        parameters = inspect.signature(get_object(node["_target_"])).parameters
        if inspect.Parameter.VAR_KEYWORD not in {parameter.kind for parameter in parameters.values()}:
            unknown = {str(key) for key in node if not str(key).startswith("_")} - set(parameters)
            assert unknown == set(), f"{path}: {node['_target_']} has no such parameters"
    assert [path for path in settings(cfg) if not is_read(path)] == []
    OmegaConf.resolve(cfg)  # every interpolation leads somewhere


def test_an_experiment_can_be_added_to_training():
    # The base has no entry for it, else "+experiment=" would be refused.
    assert not set(ADDED) & set(mounts("train"))


@pytest.mark.parametrize("model", ["tiny", "base"])
@pytest.mark.parametrize("data", sorted(path.stem for path in (CONFIGS / "data").glob("[!b]*.yaml")))
def test_what_is_trained_at_the_models_size_is_validated_at_it(data, model):
    cfg = compose_config("train", "+experiment=tracking", f"data={data}", f"model={model}")
    OmegaConf.resolve(cfg)
    if "crop" in (
        cfg.data.transform.get("transforms") or ()
    ):  # else rendered, at the size that data.train says
        size = cfg.data.val.get("size") or cfg.data.val.pairs.size
        assert {*([size] if isinstance(size, int) else size)} == {cfg.model.image_size}
