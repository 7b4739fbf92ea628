"""A key of the configuration that changes nothing is a lie: whatever is handed over must be read, too.

``test_configs.py`` asks that each key has a parameter of its name or a command that reads it. Here: that
the parameter is used. One that is only kept (``self.size = size``) must be read again as ``.size``: by
``self`` in the class and its relatives, or by somebody else anywhere in the package.
"""

import ast
import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

import retracker
from tests.test_configs import BASES, CHOICES, DOORS, compose_config, constructors, settings, ways_to_choose

PACKAGE = Path(retracker.__file__).parent
OURS = ("retracker.", __name__)  # the latter: what is planted below


@dataclasses.dataclass(frozen=True)
class Finding:
    """A parameter that a configuration sets, and what is wrong with it."""

    target: str
    parameter: str
    wrong: str


def unread(target: str, keys: frozenset[str]) -> list[Finding]:
    """The keys of one ``_target_`` that make no difference to what is built."""
    if not target.startswith(OURS):
        return []  # torch and Lightning read what they take; that they take it, test_configs.py sees to
    built = get_object(target)
    if dataclasses.is_dataclass(built):
        return [
            Finding(target, key, "a field that nobody reads")
            for key in sorted(keys)
            if not is_read(built, key)
        ]
    kept = kept_by(built) if inspect.isclass(built) else {}
    used = names_used(built.__init__ if inspect.isclass(built) else built)
    found = []
    for key in sorted(keys):
        if key not in used:
            found.append(Finding(target, key, "the parameter is not used"))
        elif key in kept and not any(is_read(built, attribute) for attribute in kept[key]):
            found.append(Finding(target, key, f"kept as {', '.join(kept[key])}, which nobody reads"))
    return found


def tree_of(thing: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(thing)))


def names_used(function: Callable) -> set[str]:
    """The names that a function's body reads; of a class without a constructor of its own, none."""
    if not inspect.isfunction(function):
        return set()
    [definition] = tree_of(function).body
    return {
        node.id
        for statement in definition.body
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def kept_by(built: type) -> dict[str, list[str]]:
    """{parameter: attributes} of what the constructor does nothing with but to keep it."""
    if not inspect.isfunction(built.__init__):
        return {}
    [definition] = tree_of(built.__init__).body
    kept: dict[str, list[str]] = {}
    keeping = set()  # the very nodes that are read in order to be kept
    for node in ast.walk(definition):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            for place, value in pairs(node.targets[0], node.value):
                if is_own(place) and isinstance(plain(value), ast.Name):
                    kept.setdefault(plain(value).id, []).append(place.attr)
                    keeping.add(plain(value))
    others = {
        node.id
        for node in ast.walk(definition)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node not in keeping
    }
    return {name: attributes for name, attributes in kept.items() if name not in others}


def pairs(place: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    if isinstance(place, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(place.elts, value.elts, strict=True)
    else:
        yield place, value


def plain(value: ast.expr) -> ast.expr:
    """What is kept behind a change of type: ``dict(weights)`` is still ``weights``."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and len(value.args) == 1:
        return value.args[0]
    return value


def is_own(place: ast.expr) -> bool:
    return isinstance(place, ast.Attribute) and isinstance(place.value, ast.Name) and place.value.id == "self"


def is_read(built: type, attribute: str) -> bool:
    """Whether ``self.attribute`` is read in a class or its relatives, or ``thing.attribute`` anywhere."""
    own = {Path(inspect.getsourcefile(base)) for base in relatives(built)}
    reads = readers().get(attribute, set()) | {
        (path, alone) for path in own for name, alone in attribute_reads(path) if name == attribute
    }
    return any(not alone or path in own for path, alone in reads)


@functools.cache
def readers() -> dict[str, set[tuple[Path, bool]]]:
    """{attribute: which files of the package read it, and whether of ``self``}."""
    found: dict[str, set[tuple[Path, bool]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, alone in attribute_reads(path):
            found.setdefault(name, set()).add((path, alone))
    return found


def relatives(built: type) -> list[type]:
    """A class, what it derives from, and what derives from it."""
    found, left = [base for base in built.__mro__ if base.__module__.startswith(OURS)], [built]
    while left:
        derived = left.pop().__subclasses__()
        found, left = found + derived, left + derived
    return found


@functools.cache
def attribute_reads(path: Path) -> set[tuple[str, bool]]:
    """Each attribute that a file reads, and whether it is one of ``self``."""
    return {
        (node.attr, is_own(node))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


@functools.cache
def read_by_commands() -> set[str]:
    """Every dotted path behind ``cfg`` that a command reads: {"paths", "paths.date", ...}."""
    nodes = (node for door in DOORS if door.exists() for node in ast.walk(ast.parse(door.read_text())))
    return {path for node in nodes if isinstance(node, ast.Attribute) for path in [behind_cfg(node)] if path}


def behind_cfg(node: ast.expr) -> str | None:
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join(reversed(names)) if isinstance(node, ast.Name) and node.id == "cfg" else None


@functools.cache
def as_written() -> dict[str, DictConfig]:
    """Every yaml of a group by itself, before anything is composed of it."""
    found = {choice: OmegaConf.load(PACKAGE.parent / "configs" / f"{choice}.yaml") for choice in CHOICES}
    return {
        choice: cfg for choice, cfg in found.items() if isinstance(cfg, DictConfig) and cfg.pop("defaults", 1)
    }


@pytest.fixture(scope="module")
def composed():
    """The bases, and each yaml that has keys which no constructor beside them takes, where it is chosen."""
    chosen = [choice for choice, cfg in as_written().items() if list(settings(cfg))]
    return [
        compose_config(*way) for way in [(base,) for base in BASES] + [ways_to_choose(c)[0] for c in chosen]
    ]


def test_whatever_a_configuration_hands_over_is_used(composed):
    handed: dict[str, set[str]] = {}
    for cfg in (*as_written().values(), *composed):
        for _, node in constructors(cfg):
            keys = {str(key) for key in node if not str(key).startswith("_")}
            handed.setdefault(node["_target_"], set()).update(keys)
    assert len(handed) > 100
    assert [finding for target, keys in handed.items() for finding in unread(target, frozenset(keys))] == []


def test_whatever_no_constructor_takes_is_read_by_a_command_or_by_another_key(composed):
    text = "\n".join(path.read_text() for path in (PACKAGE.parent / "configs").rglob("*.yaml"))
    paths = {path for cfg in composed for path in settings(cfg)}
    assert {path for path in paths if path not in read_by_commands() and f"${{{path}}}" not in text} == set()


class Keeps:
    """Planted: one parameter is kept for nobody, one ignored, one swallowed, one used."""

    def __init__(self, planted_kept, planted_ignored, used, **rest) -> None:  # noqa: ARG002
        self.planted_nobody_reads_this, self.doubled = planted_kept, 2 * used


@dataclasses.dataclass(frozen=True)
class Record:
    """Planted: a field that nobody reads, and one that a test below does."""

    planted_field: int
    planted_read: int


def ignores(used: int, planted_ignored: int) -> int:  # noqa: ARG001
    """Planted: a function that does not look at one of its arguments."""
    return used


@pytest.mark.parametrize(
    ("name", "keys", "dead"),
    [
        ("Keeps", {"planted_kept", "used"}, {"planted_kept"}),
        ("Keeps", {"planted_ignored", "used"}, {"planted_ignored"}),
        ("Keeps", {"planted_swallowed"}, {"planted_swallowed"}),
        ("Record", {"planted_field", "planted_read"}, {"planted_field"}),
        ("ignores", {"planted_ignored", "used"}, {"planted_ignored"}),
    ],
)
def test_a_planted_key_that_changes_nothing_is_found(name, keys, dead):
    assert Record(1, 2).planted_read == 2
    assert {found.parameter for found in unread(f"{__name__}.{name}", frozenset(keys))} == dead


def test_a_planted_key_that_no_command_reads_is_found():
    cfg = compose_config("train")
    planted = OmegaConf.merge(OmegaConf.create({"planted": {"key": 1}}), {"total_steps": cfg.total_steps})
    assert [path for path in settings(planted) if path not in read_by_commands()] == [
        "planted.key",
        "total_steps",  # only trainer.max_steps and the schedules name it: ${total_steps}
    ]
