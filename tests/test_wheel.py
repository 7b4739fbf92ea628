"""What a user installs: the wheel holds everything that runs, and works from any directory."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "retracker", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    # Built from a copy: setuptools leaves a build folder behind, and its stale files end in the next wheel.
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", out, source], check=True)
    [built] = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A function that runs Python with nothing but the wheel's ReTracker, from an empty directory."""
    target, elsewhere = tmp_path_factory.mktemp("target"), tmp_path_factory.mktemp("elsewhere")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel]
    subprocess.run(pip, check=True)

    def python(*arguments):
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(target), "HOME": str(elsewhere)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)

    return python, target


def test_the_wheel_holds_all_that_git_knows_of_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    code = {path.relative_to(ROOT).as_posix() for path in (ROOT / "retracker").rglob("*.py")}
    weights = {path.relative_to(ROOT).as_posix() for path in (ROOT / "retracker/weights").glob("*.[sm][ad]*")}
    configs = {
        f"retracker/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "configs").rglob("*.yaml")
    }
    assert (code | weights | configs | {"retracker/py.typed"}) - names == set()


def test_the_wheel_is_installed_and_imported_from_anywhere(installed):
    python, target = installed
    run = python("-c", "import retracker; print(retracker.__file__)")
    assert run.stdout.strip() == str(target / "retracker/__init__.py"), run.stderr


def test_training_runs_from_the_wheel_and_keeps_to_its_output_directory(installed, tmp_path):
    python, target = installed
    before = {path for path in target.rglob("*") if path.suffix != ".pyc"}
    run = python(
        "-m", "retracker.train", "+experiment=tracking", "+debug=fast", f"paths.output_dir={tmp_path}"
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "checkpoints/last.ckpt").is_file()
    assert {
        path for path in target.rglob("*") if path.suffix not in (".pyc", "") or path.is_file()
    } - before == set()


@pytest.mark.parametrize("module", ["retracker.train", "retracker.eval"])
def test_a_misspelt_override_ends_in_one_line(installed, module):
    python, _ = installed
    run = python("-m", module, "no_such_key=1")
    assert run.returncode == 2
    assert "no_such_key" in run.stderr and run.stderr.count("\n") == 1


def test_the_console_script_is_installed_and_explains_itself(installed):
    python, target = installed
    run = python(target / "bin/retracker", "--help")
    assert run.returncode == 0, run.stderr
    assert "track" in run.stdout
