"""requirements_a100.txt is exact, complete and fits setup.py."""

import ast
import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = [
    line for line in (ROOT / "requirements_a100.txt").read_text().splitlines() if line and line[0] != "#"
]
PINS = {canonicalize_name(Requirement(line).name): Requirement(line) for line in LINES}
VERSIONS = {name: re.sub("^==", "", str(pin.specifier)) for name, pin in PINS.items()}


def needed():
    """What setup.py asks for, whoever installs it."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    [call] = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "setup"]
    words = {keyword.arg: keyword.value for keyword in call.keywords}
    return [Requirement(line) for line in ast.literal_eval(words["install_requires"])]


@pytest.mark.parametrize("need", needed(), ids=str)
def test_what_setup_asks_for_is_pinned_within_its_range(need):
    name = canonicalize_name(need.name)
    assert name in PINS, f"requirements_a100.txt lacks {name}"
    assert need.specifier.contains(VERSIONS[name])


def test_every_line_is_one_exact_version_and_no_package_comes_twice():
    assert len(PINS) == len(LINES) > 50
    for pin in PINS.values():
        assert [each.operator for each in pin.specifier] == ["=="], str(pin)


@pytest.mark.parametrize("name", PINS)
def test_what_a_pinned_package_needs_is_pinned_too_and_fits(name):
    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        pytest.skip("not installed here")
    if installed.version.partition("+")[0] != VERSIONS[name]:
        pytest.skip(f"another version is installed here: {installed.version}")
    for need in map(Requirement, installed.requires or ()):
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            other = canonicalize_name(need.name)
            assert other in PINS, f"requirements_a100.txt lacks {other}, which {name} needs"
            assert need.specifier.contains(VERSIONS[other], prereleases=True), f"{name} needs {need}"
